"""A server with a fleet in its database, nginx in front of it, and a PostgreSQL: processes of this bench's own."""

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import insert

from tools.server.database import Database
from tools.server.model import Product, Property, SerialNumber, Template, Thing, Version, bucket_of, sha256_hex

ROOT = Path(__file__).resolve().parents[3]
TEMPLATE = "0" * 31 + "1"
_PRODUCT = "0" * 31 + "2"
VERSION = "0" * 31 + "3"
_START_TIMEOUT_S = 60
_OTHERS_START_S = 2  # the first process that answers is not the only one
_CHUNK_ROWS = 5000
_SERIALS: Any = SerialNumber.__table__
_THINGS: Any = Thing.__table__
_PROPERTIES: Any = Property.__table__


def key_of(number: int) -> str:
    """The API key of the thing with this number."""
    return hashlib.md5(f"key {number}".encode()).hexdigest()


def thing_of(number: int) -> str:
    """The Id of the thing with this number."""
    return f"{number:032x}"


def fill(url: str, things: int, fresh: int, firmware: Path, folder: Path) -> None:
    """Register so many things and so many serial numbers that have none yet, with one version, the target."""
    database = Database(url)
    database.migrate()
    sha256 = hashlib.sha256(firmware.read_bytes()).hexdigest()
    (folder / "firmware").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(firmware, folder / "firmware" / sha256)
    with database.writing() as session:
        add = session.execute
        add(insert(Template), [{"id": TEMPLATE, "name": "T", "description": "", "target_version_id": VERSION}])
        version = {"id": VERSION, "template_id": TEMPLATE, "number": 1, "description": "", "firmware_sha256": sha256}
        add(insert(Version), [version | {"size_bytes": firmware.stat().st_size}])
        add(insert(Product), [{"id": _PRODUCT, "name": "P", "description": "", "template_id": TEMPLATE}])
        for start in range(0, things + fresh, _CHUNK_ROWS):
            numbers = range(start, min(start + _CHUNK_ROWS, things + fresh))
            serials = [f"THERM{number:014d}" for number in numbers]
            rows = [{"serial": serial, "folded": serial.lower(), "product_id": _PRODUCT} for serial in serials]
            add(insert(_SERIALS), rows)
            made = [
                {
                    "id": thing_of(number),
                    "serial": serial,
                    "template_id": TEMPLATE,
                    "name": f"T {number}",
                    "api_key_sha256": sha256_hex(key_of(number)),
                    "current_version_id": VERSION,
                    "bucket": bucket_of(serial),
                }
                for number, serial in zip(numbers, serials, strict=True)
                if number < things
            ]
            if made:
                add(insert(_THINGS), made)
                value = {"property_id": "temperature", "value_json": "21.5"}
                add(insert(_PROPERTIES), [value | {"thing_id": thing["id"]} for thing in made])
    database.close()


@contextlib.contextmanager
def server(folder: Path, url: str | None, workers: int, *options: str) -> Iterator["Server"]:
    """A server process on the folder; ended at the end of the block."""
    port_file = folder / "port"
    port_file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tools.server", "serve", "--port", "0", "--data", str(folder)]
    command += ["--workers", str(workers), "--port-file", str(port_file), *options]
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    if url:
        environment["DATABASE_URL"] = url
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            deadline_s = time.monotonic() + _START_TIMEOUT_S
            while not port_file.exists() or not _is_well(int(port_file.read_text())):
                if process.poll() is not None or time.monotonic() > deadline_s:
                    raise RuntimeError("the server does not start")
                time.sleep(0.1)
            time.sleep(_OTHERS_START_S)
            yield Server(int(port_file.read_text()), process.pid)
        finally:
            process.terminate()


class Server:
    """A server that runs: its port, and what memory it has."""

    def __init__(self, port: int, pid: int) -> None:
        self.port = port
        self._pid = pid

    def memory_bytes(self) -> int:
        """Proportional set size of all its processes: what is shared is counted once."""
        pids = [self._pid]
        for pid in pids:
            with contextlib.suppress(OSError):
                pids += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        total = 0
        for pid in pids:
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) * 1024
        return total


@contextlib.contextmanager
def nginx(folder: Path, upstream_port: int, firmware: Path, static: Path) -> Iterator[int]:
    """Debian's nginx with the configuration of docs/nginx.conf; its port."""
    port = _free_port()
    text = (ROOT / "docs" / "nginx.conf").read_text()
    for documented, here in (
        ("listen 80;", f"listen 127.0.0.1:{port};"),
        ("127.0.0.1:8080", f"127.0.0.1:{upstream_port}"),
        ("/srv/gadgetkeeper/firmware/", f"{firmware}/"),
    ):
        assert documented in text, documented
        text = text.replace(documented, here)
    text = text.rstrip().removesuffix("}") + f"    location /static/ {{ alias {static}/; }}\n}}\n"
    folder.mkdir(parents=True, exist_ok=True)
    paths = "".join(
        f"{name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{user}worker_processes auto;\npid {folder}/pid;\nerror_log {folder}/error.log;\ndaemon off;\n"
        f"events {{ worker_connections 4096; }}\nhttp {{\naccess_log off;\n{paths}{text}}}\n"
    )
    command = [
        shutil.which("nginx") or "/usr/sbin/nginx",
        "-c",
        str(folder / "nginx.conf"),
        "-e",
        f"{folder}/error.log",
    ]
    with subprocess.Popen(command) as process:
        try:
            deadline_s = time.monotonic() + _START_TIMEOUT_S
            while not _answers(port):
                if process.poll() is not None or time.monotonic() > deadline_s:
                    raise RuntimeError((folder / "error.log").read_text())
                time.sleep(0.05)
            yield port
        finally:
            process.terminate()


def _is_well(port: int) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == 200
    return False


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]
