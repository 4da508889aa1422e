"""Reading a request's body, once it is known who sends it."""

import asyncio
from typing import TypeVar

from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

_MOST_BYTES = 4_096
_SECONDS = 10

Body = TypeVar("Body", bound=BaseModel)


async def read_body(request: Request, model: type[Body]) -> Body:
    """The body, which is JSON whatever its content type says.

    FastAPI would read it before it asks for the token, however long it is. Raises HTTPException 400, 408, 413 and
    RequestValidationError.
    """
    content = bytearray()
    try:
        async with asyncio.timeout(_SECONDS):
            async for part in request.stream():
                content += part
                if len(content) > _MOST_BYTES:
                    raise HTTPException(413, f"The body is longer than {_MOST_BYTES} bytes.")
    except TimeoutError:
        raise HTTPException(408, f"The body did not arrive within {_SECONDS} seconds.") from None
    except ClientDisconnect:
        # Read by nobody but the metrics.
        raise HTTPException(400, "The connection ended before the body did.") from None
    try:
        return model.model_validate_json(bytes(content))
    except ValidationError as error:
        problems = [{**problem, "loc": ("body", *problem["loc"])} for problem in error.errors()]
        raise RequestValidationError(problems) from None
