"""Error answers: every one is `{"code": "GK-000-000n", "message": "..."}`, whoever raised it."""

from collections.abc import Sequence
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

AUTHENTICATION_REQUIRED = "GK-000-0001"
FORBIDDEN = "GK-000-0002"
INVALID_REQUEST = "GK-000-0003"
NOT_FOUND = "GK-000-0004"
INTERNAL = "GK-000-0005"

_CODES = {401: AUTHENTICATION_REQUIRED, 403: FORBIDDEN, 404: NOT_FOUND, 500: INTERNAL}


class ApiError(Exception):
    """An answer with an error status; raised anywhere below a route."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = _CODES.get(status, INVALID_REQUEST)
        self.message = message
        self.headers = headers


def unauthenticated(message: str) -> ApiError:
    """401, with the challenge that HTTP asks for."""
    return ApiError(401, message, {"WWW-Authenticate": 'Basic realm="GadgetKeeper"'})


def invalid(message: str) -> ApiError:
    """400: the request cannot be carried out as it stands."""
    return ApiError(400, message)


def not_found(message: str) -> ApiError:
    """404: what the path names does not exist."""
    return ApiError(404, message)


def install(app: FastAPI) -> None:
    """Answer our own errors, the framework's and unexpected ones alike in GadgetKeeper's form."""

    @app.exception_handler(ApiError)
    async def _ours(request: Request, error: ApiError) -> JSONResponse:
        return _answer(error)

    @app.exception_handler(HTTPException)
    async def _of_framework(request: Request, error: HTTPException) -> JSONResponse:
        message = f"{HTTPStatus(error.status_code).phrase}: {request.method} {request.url.path}"
        return _answer(ApiError(error.status_code, message, dict(error.headers or {})))

    @app.exception_handler(RequestValidationError)
    async def _of_validation(request: Request, error: RequestValidationError) -> JSONResponse:
        return _answer(invalid(describe(error.errors())))

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, error: Exception) -> JSONResponse:
        # The traceback goes to the server's log; the client learns nothing about the inside.
        return _answer(ApiError(500, "Internal error"))


def describe(problems: Sequence) -> str:
    """The first of a validator's problems as one sentence: where, and what is wrong."""
    where = ".".join(str(part) for part in problems[0]["loc"])
    return f"{where}: {problems[0]['msg']}" if where else problems[0]["msg"]


def _answer(error: ApiError) -> JSONResponse:
    return JSONResponse({"code": error.code, "message": error.message}, error.status, error.headers)
