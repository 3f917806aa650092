"""Files and folders that one program has for itself, while it runs."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path


class InUseError(Exception):
    """Another program has it; the text says what it is and what to do."""


@contextlib.contextmanager
def held(path: Path, problem: str) -> Iterator[None]:
    """Hold the file `path`, which is made when it is missing. InUseError with the text `problem` when another program
    holds it. The system lets go of it when this program ends, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUseError(problem) from None
        yield
