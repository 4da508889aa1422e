"""Who may start runs, and read when READ_TOKEN_REQUIRED is set: whoever knows API_TOKEN."""

import hmac
from typing import Annotated, Any

from fastapi import HTTPException, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param

from app.schemas import ErrorOut
from app.settings import Settings

UNAUTHORIZED: dict[int | str, dict[str, Any]] = {
    401: {
        "model": ErrorOut,
        "description": "The token is missing or wrong.",
        "headers": {"WWW-Authenticate": {"description": "`Bearer`.", "schema": {"type": "string"}}},
    }
}
FORBIDDEN: dict[int | str, dict[str, Any]] = {
    403: {"model": ErrorOut, "description": "No token is configured: nobody may do this."}
}

_bearer = HTTPBearer(auto_error=False, scheme_name="API_TOKEN", description="The service's `API_TOKEN`.")
_Documented = Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]


def check_token(request: Request) -> None:
    """Raises HTTPException: 403 when no token is configured, 401 when the request's is missing or wrong."""
    settings: Settings = request.app.state.settings
    if settings.api_token is None:
        raise HTTPException(
            403,
            "Starting runs over HTTP is switched off. To enable it, set API_TOKEN to a secret of at least 16 "
            "characters, for example one that `openssl rand -hex 32` prints, and restart the api.",
        )
    scheme, token = get_authorization_scheme_param(request.headers.get("Authorization"))
    if scheme.lower() != "bearer" or not token:
        raise _unauthorized("This needs the token: send the header `Authorization: Bearer …` with the API_TOKEN.", "")
    # Bytes, since compare_digest takes no text beyond ASCII; headers were decoded as Latin-1.
    if not hmac.compare_digest(token.encode("latin-1"), settings.api_token.get_secret_value().encode()):
        raise _unauthorized("The token is wrong.", ', error="invalid_token"')


def check_read_token(request: Request) -> None:
    """Raises HTTPException 401 when reading needs a token and the request's is missing or wrong."""
    if request.app.state.settings.read_token_required:
        check_token(request)


async def require_token(request: Request, _: _Documented) -> None:
    check_token(request)


def _unauthorized(sentence: str, error: str) -> HTTPException:
    return HTTPException(401, sentence, headers={"WWW-Authenticate": f'Bearer realm="synergyway"{error}'})
