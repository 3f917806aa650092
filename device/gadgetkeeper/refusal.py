"""What a status means that is no success."""

from agent.errors import AgentError, PermanentError, RetryableError
from agent.runner import run
from micropython import const

_UNAUTHORIZED = const(401)
_FORBIDDEN = const(403)
_NOT_FOUND = const(404)
_REQUEST_TIMEOUT = const(408)
_GONE = const(410)
_TOO_MANY_REQUESTS = const(429)
_UNVERIFIED_MAX_S = const(3600)


def refusal(response, route, is_verified: bool) -> AgentError:
    """Return the error that this response means for a call of this route. A server that has not proven who it is cannot
    ask for more than an hour of silence."""
    status = response.status_code
    if status == _UNAUTHORIZED and route.name != "activate":
        return RetryableError("key_dropped")
    if status == _FORBIDDEN and route.name == "activate":
        return PermanentError("not_allowed")
    if status in (_NOT_FOUND, _GONE):
        return PermanentError(route.missing)
    if status not in (_REQUEST_TIMEOUT, _TOO_MANY_REQUESTS) and status < 500:
        return PermanentError("refused", status)
    error = RetryableError("server_error", status)
    asked = response.headers.get("retry-after")
    if asked:
        asked_s = run("net.http_date", "retry_after_s", asked, response.headers.get("date", ""))
        error.retry_after_s = asked_s if is_verified else min(asked_s or 0, _UNVERIFIED_MAX_S)
    return error
