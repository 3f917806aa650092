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


def refusal(response, route) -> AgentError:
    """Return the error that this response means for a call of this route."""
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
        error.retry_after_s = run("net.http_date", "retry_after_s", asked, response.headers.get("date", ""))
    return error
