"""What an error says to people, from `errors.txt`: each line is a code and a sentence."""

from .errors import AgentError


def sentence(error: Exception) -> str:
    """Return one line for the console: the failed call, what went wrong, and the code in brackets."""
    if not isinstance(error, AgentError):
        return f"{error} [{type(error).__name__}]"
    text = ""
    try:
        with open(__file__.rpartition("/")[0] + "/errors.txt") as lines:
            for line in lines:
                code, _, template = line.strip().partition(" ")
                if code == error.code:
                    text = template.format(*error.args[1:])
                    break
    except (OSError, LookupError, ValueError):  # a damaged installation must not hide the code
        pass
    call = error.call + ": " if error.call else ""
    return f"{call}{text or error.args[1:]} [{error.code}]"
