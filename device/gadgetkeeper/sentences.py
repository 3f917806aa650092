"""What an error says to people: its sentence from `errors.txt`, where each line is a code and a sentence."""


def sentence(error: Exception) -> str:
    """One line for the console: the call, what went wrong, and the code in brackets."""
    from .errors import AgentError

    if not isinstance(error, AgentError):
        return f"{error} [{type(error).__name__}]"
    code = error.code
    said = ""
    try:
        with open(__file__.rpartition("/")[0] + "/errors.txt") as lines:
            for line in lines:
                word, _, rest = line.strip().partition(" ")
                if word == code:
                    said = rest.format(*error.args[1:])
                    break
    except (OSError, LookupError, ValueError):  # an incomplete or damaged deployment must not hide the code
        pass
    call = error.call + ": " if error.call else ""
    return f"{call}{said or error.args[1:]} [{code}]"
