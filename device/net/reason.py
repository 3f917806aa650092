"""What a foreign error is about."""

import errno


def reason(error: BaseException) -> str:
    """Return it in one word: the name of the error's errno, or its type."""
    if isinstance(error, OSError) and error.args:
        return getattr(errno, "errorcode", {}).get(error.args[0], str(error.args[-1]))
    return type(error).__name__
