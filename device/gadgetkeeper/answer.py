"""Calls that are answered with a JSON object. What they may raise: see `call`."""

from agent.errors import AgentError, RetryableError

from .call import call


def answer(device, name: str, **names) -> dict:
    """Make the call, and return the JSON object that is answered; an empty one for anything else."""
    response = call(device, name, **names)
    try:
        members = response.json()
    except AgentError as error:
        error.call = name
        raise
    finally:
        response.close()
    return members if isinstance(members, dict) else {}


def bad_answer(name: str, what: str) -> RetryableError:
    """Return the error for an answer to this call that lacks something."""
    error = RetryableError("bad_answer", what)
    error.call = name
    return error
