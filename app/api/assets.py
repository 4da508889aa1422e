"""The page's own files, which browsers may keep: a changed file has another address."""

from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from fastapi.staticfiles import StaticFiles
from starlette.responses import Response

_FOLDER = Path(__file__).parent.parent / "static"


@cache
def asset(name: str) -> str:
    """The address of a file, which changes with its content."""
    version = sha256((_FOLDER / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={version}"


class Assets(StaticFiles):
    """Serves the files, for ever where the address names a version."""

    def __init__(self) -> None:
        super().__init__(directory=_FOLDER)

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        scope = kwargs["scope"] if "scope" in kwargs else args[2]
        versioned = scope["query_string"].startswith(b"v=")
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if versioned else "no-cache"
        return response
