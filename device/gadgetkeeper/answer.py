"""Calls that are answered with a JSON object, or with nothing. What they may raise: see `call`."""

from agent.errors import AgentError, RetryableError
from agent.runner import run
from micropython import const

from .call import call

_NO_CONTENT = const(204)


def answer(device, name: str, **names) -> dict:
    """Make the call, and return the JSON object that is answered; an empty one for anything else."""
    response = call(device, name, **names)
    try:
        members = run("net.content", "read_json", response)
    except AgentError as error:
        error.call = name
        raise
    finally:
        response.close()
    return members if isinstance(members, dict) else {}


def tell(device, name: str, value: object = None, headers: "dict | None" = None, **names) -> None:
    """Make a call that needs no answer but success. The login page of a hotel's WiFi is none: RetryableError for a body
    that is not JSON."""
    response = call(device, name, value, headers, **names)
    try:
        if response.status_code != _NO_CONTENT:
            run("net.content", "check_acknowledgement", response)
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
