"""Calls that are answered with a JSON object, or with nothing. What they may raise: see `call`."""

from agent.errors import AgentError, RetryableError

from .call import call


def answer(device, name: str, **names) -> dict:
    """Make the call, and return the JSON object that is answered; an empty one for anything else."""
    members = _members(name, call(device, name, **names))
    return members if isinstance(members, dict) else {}


def tell(device, name: str, value: object = None, headers: "dict | None" = None, **names) -> None:
    """Make a call that needs no answer but success. The login page of a hotel's WiFi is none: RetryableError for a body
    that is not JSON."""
    _members(name, call(device, name, value, headers, **names))


def _members(name: str, response) -> object:
    try:
        return response.json()
    except AgentError as error:
        error.call = name
        raise
    finally:
        response.close()


def bad_answer(name: str, what: str) -> RetryableError:
    """Return the error for an answer to this call that lacks something."""
    error = RetryableError("bad_answer", what)
    error.call = name
    return error
