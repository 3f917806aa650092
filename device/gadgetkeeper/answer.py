"""Calls that are answered with a JSON object, or with nothing. What they may raise: see `call`."""

from agent.errors import AgentError, RetryableError
from agent.runner import run

from .call import call


def answer(device, name: str, **names) -> dict:
    """Make the call, and return the JSON object that is answered; an empty one for any other JSON."""
    members = _read(call(device, name, **names), name, "read_json")
    return members if isinstance(members, dict) else {}


def tell(device, name: str, text: "str | None" = None, headers: "dict | None" = None, **names) -> None:
    """Make a call that needs no answer but success. The login page of a hotel's WiFi is none: RetryableError for a body
    that is not JSON."""
    _read(call(device, name, text, headers, **names), name, "check_acknowledgement")


def _read(response, name: str, reader: str):
    """Return what this function of `net.content` makes of the response to the call of this name, and close it."""
    try:
        return run("net.content", reader, response)
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
