"""Reading a request's body, once it is known who sends it."""

from typing import TypeVar

from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

_MOST_BYTES = 4_096

Body = TypeVar("Body", bound=BaseModel)


async def read_body(request: Request, model: type[Body]) -> Body:
    """The body, which is JSON whatever its content type says.

    FastAPI would read it before it asks for the token, however long it is. Raises HTTPException 413 and
    RequestValidationError.
    """
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > _MOST_BYTES:
            raise HTTPException(413, f"The body is longer than {_MOST_BYTES} bytes.")
    try:
        return model.model_validate_json(bytes(content))
    except ValidationError as error:
        problems = [{**problem, "loc": ("body", *problem["loc"])} for problem in error.errors()]
        raise RequestValidationError(problems) from None
