"""What the desk's command lines take and say alike."""

import argparse
import errno
import sys
import unicodedata
from pathlib import Path

_NEVER_IN_A_NAME = ("Cc", "Cs", "Zl", "Zp")  # control characters, bytes that are no UTF-8, line and paragraph breaks


def count(text: str) -> int:
    """A number above 0, for argparse."""
    if not (text.isascii() and text.isdigit()) or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)


def free_text(text: str) -> str:
    """A name as a person types it, for argparse: refused when it holds control characters or bytes that are no UTF-8,
    otherwise exactly as it is."""
    for char in text:
        if unicodedata.category(char) == "Cs":
            raise argparse.ArgumentTypeError(f"{text!r} is no text in UTF-8")
        if unicodedata.category(char) in _NEVER_IN_A_NAME:
            raise argparse.ArgumentTypeError(f"{text!r} holds the control character {char!r}")
    return text


def file_name(text: str) -> Path:
    """A path, for argparse; as `free_text`."""
    return Path(free_text(text))


def shown(text: object) -> str:
    """The text with everything escaped that is not printable, so that no name moves the cursor or breaks a line."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in str(text))


def why(error: OSError) -> str:
    """What the system refused, as a sentence that says what to do where that is clear."""
    where = f"{error.filename}: " if error.filename else ""
    hints = {
        errno.ENOSPC: "the disk is full: free some space, then try again",
        errno.EDQUOT: "your share of the disk is used up: free some space, then try again",
        errno.EROFS: "this disk is read-only: name another place",
        errno.EACCES: "no permission: name another place, or change its owner",
        errno.EADDRINUSE: "this port is in use by another program: name another one",
    }
    return where + hints.get(error.errno or 0, error.strerror or str(error))


def failed(program: str, problem: object, status: int) -> int:
    """Say in one line on standard error why the program ends; its exit status."""
    text = why(problem) if isinstance(problem, OSError) else str(problem)
    print(f"{program}: " + shown(" ".join(text.split())), file=sys.stderr)
    return status
