"""The board's serial number, in `/serial.txt`."""

from .errors import PermanentError
from .files import read_text
from .identifiers import is_id


def read_serial_number(root: str) -> str:
    """Return the serial number. PermanentError when there is none, or it cannot be one."""
    try:
        text = read_text(root + "serial.txt").strip()
    except OSError:
        text = ""
    except ValueError:
        text = "?"
    if not text:
        raise PermanentError("no_serial")
    if not is_id(text):
        raise PermanentError("bad_serial")
    return text
