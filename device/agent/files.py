"""The small text files on the board's flash."""

import os

from micropython import const

_FILE_MAX_BYTES = const(8192)


def read_text(path: str) -> str:
    """Return the file's text, at most 8 KiB of it, without a byte order mark. OSError when it cannot be read,
    ValueError when it is no UTF-8."""
    # As much as there is, and no more: a read for 8 KiB would allocate 8 KiB in one piece.
    size_bytes = os.stat(path)[6]
    with open(path) as file:
        return file.read(min(size_bytes, _FILE_MAX_BYTES)).lstrip("\ufeff")


def replace_text(path: str, text: str) -> None:
    """Write the file anew, as a whole: a power cut leaves the old one or the new one. OSError when flash is full or
    fails; the old one is then still whole."""
    with open(path + ".new", "w") as file:
        file.write(text)
    os.rename(path + ".new", path)


def remove(path: str) -> None:
    """Remove the file, if there is one."""
    try:
        os.remove(path)
    except OSError:  # there is none; or flash fails, and the file is dealt with next time
        pass
