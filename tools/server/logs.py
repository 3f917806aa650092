"""The log: one line each, in UTC, on standard error; a flood of the same is counted instead of written."""

import logging
import time

from .limits import Limit

_BURST, _PER_S = 50, 1.0


def configure(level: str) -> None:
    """Write what is at least this important to standard error."""
    handler = logging.StreamHandler()
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    handler.addFilter(Sparing())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.getLogger("uvicorn").setLevel(max(logging.getLevelName(level.upper()), logging.WARNING))
    logging.getLogger("alembic").setLevel(logging.WARNING)


class Sparing(logging.Filter):
    """Lets through so many lines of a kind at once, and then one a second: nobody fills the disk by being refused."""

    def __init__(self) -> None:
        super().__init__()
        self._limit = Limit(_BURST, _PER_S)
        self._left_out: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """True for a line to be written."""
        if record.name == "gadgetkeeper.access":
            return True
        kind = f"{record.name} {record.msg}"
        if self._limit.take(kind):
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return False
        if left_out := self._left_out.pop(kind, 0):
            record.msg = f"{record.getMessage()} (and {left_out} more like this)"
            record.args = ()
        return True
