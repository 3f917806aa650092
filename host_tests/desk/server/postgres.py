"""A PostgreSQL of the tests' own: Debian's programs, as an ordinary user, in a folder and on a port of its own."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

_USER = "postgres"
_TIMEOUT_S = "30"


def programs() -> Path | None:
    """The folder of the newest PostgreSQL's programs; None when there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
    return found[-1].parent if found else None


def require(what: str, is_there: bool) -> None:
    """Skip the test when a program is missing; on CI, where it must be there, fail it."""
    if is_there:
        return
    if os.environ.get("CI"):
        pytest.fail(f"{what} is not installed: .ci/run installs it")
    pytest.skip(f"{what} is not installed: apt-get install {what}")


class Cluster:
    """A PostgreSQL that can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self._programs = programs()
        self._folder = folder / "data"
        self._is_root = os.geteuid() == 0
        if self._is_root:  # PostgreSQL refuses to run as root
            shutil.chown(folder, _USER)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._run("initdb", "-D", str(self._folder), "-A", "trust", "-U", _USER, "--no-sync", "-E", "UTF8")
        with contextlib.suppress(FileExistsError):
            (folder / "sockets").mkdir()
        if self._is_root:
            shutil.chown(folder / "sockets", _USER)
        self._options = f"-p {self._port} -c listen_addresses=127.0.0.1 -k {folder / 'sockets'} -c fsync=off"

    def start(self) -> None:
        """Start it, and wait until it listens."""
        log = str(self._folder / "log")
        self._run("pg_ctl", "start", "-w", "-t", _TIMEOUT_S, "-D", str(self._folder), "-l", log, "-o", self._options)

    def stop(self) -> None:
        """Stop it at once, whoever is connected."""
        self._run("pg_ctl", "stop", "-w", "-t", _TIMEOUT_S, "-m", "immediate", "-D", str(self._folder))

    def database(self, copied_from: str = "template1") -> str:
        """The address of a new database: an empty one, or a copy of one to which nobody is connected."""
        name = f"test_{uuid4().hex}"
        address = f"127.0.0.1:{self._port}"
        with psycopg.connect(f"postgresql://{_USER}@{address}/postgres", autocommit=True) as connection:
            original = copied_from.rpartition("/")[2]
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {original} STRATEGY file_copy")
        return f"postgresql+psycopg://{_USER}@{address}/{name}"

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        if self._is_root:
            command = ["runuser", "-u", _USER, "--", *command]
        # Into a file: a pipe would be held open by the server that pg_ctl leaves behind.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(command, stdout=output, stderr=output, cwd="/", timeout=60)
            output.seek(0)
            assert done.returncode == 0, output.read().decode()


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """A running PostgreSQL; stopped and removed at the end."""
    require("postgresql", programs() is not None)
    with tempfile.TemporaryDirectory(prefix="gadgetkeeper-pg-") as folder:
        made = Cluster(Path(folder))
        made.start()
        try:
            yield made
        finally:
            made.stop()
