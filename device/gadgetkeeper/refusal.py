"""What a status means that is no success."""

from agent.errors import AgentError, PermanentError, RetryableError
from agent.runner import run
from micropython import const

from .routes import Route

_PARTIAL_CONTENT = const(206)
_IM_USED = const(226)
_UNAUTHORIZED = const(401)
_FORBIDDEN = const(403)
_NOT_FOUND = const(404)
_REQUEST_TIMEOUT = const(408)
_GONE = const(410)
_TOO_MANY_REQUESTS = const(429)
_RANGE_NOT_SATISFIABLE = const(416)
_UNVERIFIED_MAX_S = const(3600)


def check_status(device, name: str, headers: dict, response) -> None:
    """Check the status of this call's response, asked for with these headers. AgentError, and the response is closed,
    for one that is no success."""
    status = response.status_code
    if status in (_PARTIAL_CONTENT, _RANGE_NOT_SATISFIABLE):
        succeeded = "Range" in headers  # a part that nobody asked for is no firmware
    elif status == _IM_USED:
        succeeded = "A-IM" in headers  # nor is a patch
    else:
        succeeded = 200 <= status <= 299
    if not succeeded:
        response.close()
        raise refusal(name, response, device.settings.server.startswith("https"))


def refusal(name: str, response, is_verified: bool) -> AgentError:
    """Return the error that this response means for the call of this name. A server that has not proven who it is
    cannot ask for more than an hour of silence."""
    status = response.status_code
    if status == _UNAUTHORIZED and name != "activate":
        return RetryableError("key_dropped")
    if status == _FORBIDDEN and name == "activate":
        return PermanentError("not_allowed")
    if status in (_NOT_FOUND, _GONE):
        return PermanentError(Route(name).missing)
    if status not in (_REQUEST_TIMEOUT, _TOO_MANY_REQUESTS) and status < 500:
        return PermanentError("refused", status)
    error = RetryableError("server_error", status)
    asked = response.headers.get("retry-after")
    if asked:
        asked_s = run("net.http_date", "retry_after_s", asked, response.headers.get("date", ""))
        error.retry_after_s = asked_s if is_verified else min(asked_s or 0, _UNVERIFIED_MAX_S)
    return error
