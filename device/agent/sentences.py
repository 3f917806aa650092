"""What an error says to people: a sentence from `errors.txt`, where each line is a code and a sentence; one word for
an error that is not the agent's.
"""

import errno

from micropython import const

from .errors import AgentError

_PIECE_BYTES = const(256)


def sentence(error: Exception) -> str:
    """Return one line for the console: the failed call, what went wrong, and the code in brackets."""
    if not isinstance(error, AgentError):
        return f"{error} [{type(error).__name__}]"
    try:
        text = _template(error.code).format(*error.args[1:])
    except (OSError, LookupError, ValueError):  # a damaged installation must not hide the code
        text = ""
    call = error.call + ": " if error.call else ""
    return f"{call}{text or error.args[1:]} [{error.code}]"


def reason(error: BaseException) -> str:
    """Return what an error that is not the agent's is about: the name of its errno, or its type."""
    if isinstance(error, OSError) and error.args:
        return getattr(errno, "errorcode", {}).get(error.args[0], str(error.args[-1]))
    return type(error).__name__


def _template(code: str) -> str:
    """Return the sentence for this code, read in pieces; an empty one for an unknown code."""
    key = f"\n{code} ".encode()
    piece = bytearray(_PIECE_BYTES)
    found = b"\n"
    with open(__file__.rpartition("/")[0] + "/errors.txt", "rb") as file:
        while True:
            count = file.readinto(piece)
            found += piece[:count]
            at = found.find(key)
            end = found.find(b"\n", at + 1)
            if at < 0:
                found = found[-len(key) :]
            elif end > 0 or not count:
                return str(found[at + len(key) : end], "utf-8")
            if not count:
                return ""
