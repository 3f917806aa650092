"""A server's records, filled once and then copied: that is quicker than the migrations of an empty database.

How records come to be is for host_tests/desk/server/test_database.py and host_tests/desk/test_server.py.
"""

import copy
import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tools import server


def copy_records(data: Path, fill: Callable, *arguments) -> Any:
    """Make `data` a data folder with the records that `fill(running server, *arguments)` leaves; what `fill` returned.
    The first vendor's password is the same in all copies."""
    folder, made = _filled(fill, *arguments)
    shutil.copytree(folder.name, data)
    return copy.deepcopy(made)


@functools.cache
def _filled(fill: Callable, *arguments) -> tuple[TemporaryDirectory, Any]:
    folder = TemporaryDirectory(prefix="gadgetkeeper-records-")
    with server.running(Path(folder.name)) as running:
        return folder, fill(running, *arguments)
