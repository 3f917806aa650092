"""Text files that people have edited: with a byte order mark, another system's line ends, or indented."""

import codecs
from pathlib import Path

_UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class TextError(Exception):
    """A file that is no text in UTF-8; the text says what it is instead."""


def read_text(path: Path) -> str:
    """The file's text, without a byte order mark; line ends stay as they are. OSError when it cannot be read, TextError
    when it is no UTF-8."""
    return text_of(path.read_bytes())


def text_of(data: bytes) -> str:
    """The text in UTF-8, without a byte order mark. TextError when it is none."""
    if data.startswith(_UTF_16_MARKS):
        raise TextError("it is text in UTF-16: save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextError(f"byte {error.start + 1} is no UTF-8: save it as UTF-8") from error


def pem(data: bytes) -> bytes:
    """PEM as programs take it, of PEM as people keep it: without a byte order mark, indentation and spaces at the
    lines' ends. What is no PEM stays as it is. TextError for PEM that is no UTF-8."""
    if data.startswith(_UTF_16_MARKS):
        raise TextError("it is text in UTF-16: save it as UTF-8")
    if b"-----BEGIN" not in data:
        return data
    lines = text_of(data).splitlines()
    return "".join(line.strip() + "\n" for line in lines).encode()
