"""Error answers: every one is `{"code": "GK-000-000n", "message": "..."}`, whoever raised it."""

import errno
import logging
from collections.abc import Sequence
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException

from .database import Refusal, is_disk_full, reason_of

AUTHENTICATION_REQUIRED = "GK-000-0001"
FORBIDDEN = "GK-000-0002"
INVALID_REQUEST = "GK-000-0003"
NOT_FOUND = "GK-000-0004"
INTERNAL = "GK-000-0005"

_CODES = {401: AUTHENTICATION_REQUIRED, 403: FORBIDDEN, 404: NOT_FOUND}
_RETRY_AFTER_S = 30
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

log = logging.getLogger("gadgetkeeper")


class ApiError(Refusal):
    """An answer with an error status; raised anywhere below a route."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code_of(status)
        self.message = message
        self.headers = headers


def code_of(status: int) -> str:
    """GadgetKeeper's error code of an HTTP status."""
    return _CODES.get(status, INTERNAL if status >= 500 else INVALID_REQUEST)


def unauthenticated(message: str) -> ApiError:
    """401, with the challenge that HTTP asks for."""
    return ApiError(401, message, {"WWW-Authenticate": 'Basic realm="GadgetKeeper", charset="UTF-8"'})


def forbidden(message: str) -> ApiError:
    """403: known, but not allowed."""
    return ApiError(403, message)


def invalid(message: str) -> ApiError:
    """400: the request cannot be carried out as it stands."""
    return ApiError(400, message)


def not_found(message: str) -> ApiError:
    """404: what the path names does not exist."""
    return ApiError(404, message)


def conflict(message: str) -> ApiError:
    """409: right by itself, but not as things are."""
    return ApiError(409, message)


def too_many(message: str, wait_s: int) -> ApiError:
    """429: to be tried again after so many seconds."""
    return ApiError(429, message, {"Retry-After": str(wait_s)})


def full() -> ApiError:
    """507: nothing was stored."""
    return ApiError(507, "The server's disk is full: nothing was stored", {"Retry-After": str(_RETRY_AFTER_S)})


def unavailable(message: str) -> ApiError:
    """503: to be tried again later."""
    return ApiError(503, message, {"Retry-After": str(_RETRY_AFTER_S)})


def install(app: FastAPI) -> None:
    """Answer our own errors, the framework's, the database's and the disk's, and unexpected ones alike in
    GadgetKeeper's form."""

    @app.exception_handler(ApiError)
    async def _ours(request: Request, error: ApiError) -> JSONResponse:
        return answer(error)

    @app.exception_handler(HTTPException)
    async def _of_framework(request: Request, error: HTTPException) -> JSONResponse:
        message = f"{HTTPStatus(error.status_code).phrase}: {request.method} {printable(request.url.path)}"
        return answer(ApiError(error.status_code, message, dict(error.headers or {})))

    @app.exception_handler(RequestValidationError)
    async def _of_validation(request: Request, error: RequestValidationError) -> JSONResponse:
        return answer(invalid(describe(error.errors())))

    @app.exception_handler(DBAPIError)
    @app.exception_handler(PoolTimeoutError)
    @app.exception_handler(OSError)
    async def _of_storage(request: Request, error: Exception) -> JSONResponse:
        known = storage_error(error)
        if known is None:
            log.error("%s %s failed", request.method, printable(request.url.path), exc_info=error)
        return answer(known or ApiError(500, "Internal error"))

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, error: Exception) -> JSONResponse:
        # The traceback goes to the server's log; the client learns nothing about the inside.
        return answer(ApiError(500, "Internal error"))


def storage_error(error: BaseException) -> ApiError | None:
    """What a full disk or a database that is away means to a client, said in the log in one line; None for anything
    else, which is a mistake of ours."""
    if is_disk_full(error) or (isinstance(error, OSError) and error.errno in _DISK_FULL):
        log.error("the disk is full: %s", _one_line(error))
        return full()
    if isinstance(error, OperationalError | PoolTimeoutError) or getattr(error, "connection_invalidated", False):
        log.error("the database cannot be used: %s", _one_line(error))
        return unavailable("The server's database cannot be reached: try again later")
    return None


def describe(problems: Sequence) -> str:
    """The first of a validator's problems as one sentence: where, and what is wrong."""
    where = ".".join(str(part) for part in problems[0]["loc"])
    what = problems[0]["msg"].removeprefix("Value error, ")  # of our own checks
    return printable(f"{where}: {what}" if where else what)


def printable(text: str) -> str:
    """The text without control characters: fit for a log and a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


def answer(error: ApiError) -> JSONResponse:
    """The answer that says this error."""
    return JSONResponse({"code": error.code, "message": error.message}, error.status, error.headers)


def _one_line(error: BaseException) -> str:
    return printable(reason_of(error) if isinstance(error, DBAPIError) else " ".join(str(error).split()))
