"""A server that runs: in a thread of this process, or in several processes, until it is told to stop."""

import contextlib
import fcntl
import functools
import ipaddress
import json
import logging
import multiprocessing
import os
import resource
import signal
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from tools.arguments import why

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

    from .settings import Settings

PASSWORD_VARIABLE = "GADGETKEEPER_PASSWORD"
FIRST_VENDOR = "vendor"
"""The vendor that a new server has."""

_STOP_TIMEOUT_S = 1  # for requests under way
_KEEP_ALIVE_S = 15
_BACKLOG = 2048
_FILES_WANTED = 65_536
_SETTINGS_VARIABLE = "GADGETKEEPER_SERVER_SETTINGS"
_PARENT_VARIABLE = "GADGETKEEPER_SERVER_PARENT"
_LOG_LEVEL_VARIABLE = "GADGETKEEPER_SERVER_LOG_LEVEL"
_LOOK_S = 2.0
_TICKS_PER_LOOK = 20  # a tick is 0.1 s
_METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

log = logging.getLogger("gadgetkeeper")


class ServingError(Exception):
    """The server cannot start; the text says why."""


@dataclass(frozen=True)
class Tls:
    """The PEM files of a certificate chain and its key. New ones in their place are taken without a restart."""

    certificate: Path
    key: Path

    def trusting(self) -> ssl.SSLContext:
        """What trusts a server with this certificate, whatever name it is for, and no other. ServingError when
        certificate or key cannot be used."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        try:
            self.load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
            context.load_verify_locations(self.certificate)
        except (OSError, ServingError) as error:
            raise ServingError(
                f"cannot use the certificate {self.certificate} with the key {self.key}: {error}"
            ) from error
        return context

    def load(self, context: ssl.SSLContext) -> None:
        """Give the files to a server's context."""
        context.load_cert_chain(self.certificate, self.key, password=_no_passphrase)

    def changed(self) -> tuple[float, float]:
        """When the files were changed."""
        return self.certificate.stat().st_mtime, self.key.stat().st_mtime


class Running:
    """A running server: `url`, `vendor` (a client for it), `password`."""

    def __init__(self, url: str, password: str, verify: ssl.SSLContext | bool, stop: Callable[[], None]) -> None:
        from .client import Vendor

        self.url = url
        self.password = password
        self.vendor = Vendor(url, password, verify)
        self.stop = stop
        self.ended = threading.Event()

    def wait(self) -> None:
        """Wait until the server has ended."""
        # With a time-out the main thread stays open to signals.
        while not self.ended.wait(1):
            pass


@contextmanager
def running(
    data_dir: Path | str,
    firmware_form: str = "auto",
    port: int = 0,
    host: str = "127.0.0.1",
    password: str | None = None,
    tls: tuple[Path | str, Path | str] | None = None,
    patch_bases: int = 0,
    **more: Any,
) -> Iterator[Running]:
    """A server on the records in `data_dir` (made when missing), listening when the block begins, ended when it ends.
    Port 0: a free one. Password None: the one of `data_dir`. With `tls`, the PEM files of a certificate chain and its
    key, it speaks https. Without `patch_bases` it makes no patches. `more`: see Settings. Raises ServingError when it
    cannot start."""
    from .settings import Settings

    files = Tls(Path(tls[0]), Path(tls[1])) if tls else None
    settings = Settings(data=Path(data_dir), firmware_form=firmware_form, patch_bases=patch_bases, **more)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listening(host, port))
        stack.enter_context(held(settings))
        kept_password = prepare(settings, password, is_reachable(host, settings.proxies))
        context = stack.enter_context(_context(settings))
        from .app import create_app

        verify = files.trusting() if files else True
        server = _server(_config(create_app(context), settings, files), files)
        thread = threading.Thread(target=server.run, args=([listener],), name="gadgetkeeper", daemon=True)
        # The socket listens already: a request that comes before the thread is up waits in the backlog.
        thread.start()

        def stop() -> None:
            server.should_exit = True

        handle = Running(address_of(listener, host, bool(tls)), kept_password or "", verify, stop)
        threading.Thread(target=_tell_end, args=(thread, handle.ended), daemon=True).start()
        try:
            with handle.vendor:
                yield handle
        finally:
            stop()
            thread.join()


def serve_processes(
    settings: "Settings",
    listener: socket.socket,
    tls: Tls | None,
    workers: int,
) -> None:
    """Run so many processes on the listener until SIGTERM or SIGINT; each is started again should it end."""
    from uvicorn.supervisors import Multiprocess

    values = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(settings).items()}
    os.environ[_SETTINGS_VARIABLE] = json.dumps(values)
    os.environ[_PARENT_VARIABLE] = str(os.getpid())
    os.environ[_LOG_LEVEL_VARIABLE] = logging.getLevelName(logging.getLogger().level)
    with tempfile.TemporaryDirectory(prefix="gadgetkeeper-metrics-") as folder:
        os.environ[_METRICS_VARIABLE] = folder
        config = _config("tools.server.serving:worker", settings, tls)
        config.factory, config.workers = True, workers
        supervisor = Multiprocess(config, sockets=[listener])
        if tls:  # a new certificate: new processes, one after the other
            renew = functools.partial(supervisor.signal_queue.append, signal.SIGHUP)
            threading.Thread(target=_watch, args=(Certificate(tls, renew),), daemon=True).start()
        supervisor.run()


def worker() -> "FastAPI":
    """The application in one of several processes."""
    from . import logs
    from .access import Context
    from .app import create_app
    from .database import Database
    from .settings import Settings

    os.umask(0o077)
    threading.Thread(target=_end_with, args=(int(os.environ[_PARENT_VARIABLE]),), daemon=True).start()
    values = json.loads(os.environ[_SETTINGS_VARIABLE])
    logs.configure(os.environ[_LOG_LEVEL_VARIABLE])
    settings = Settings(**(values | {"data": Path(values["data"])}))
    return create_app(Context(settings, Database(settings.url)))


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """The socket to serve on. ServingError when it cannot be had."""
    # First the port: a second server started by mistake ends here, before it touches the records of the first.
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = why(error) if isinstance(error, OSError) else error
        raise ServingError(f"cannot listen on {host} port {port}: {reason}") from error
    with listener:
        # Inherited by every connection. Without it an answer's body waits 40 ms for the acknowledgment of its head.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield listener


@contextmanager
def held(settings: "Settings") -> Iterator[None]:
    """The data folder, with SQLite for this server alone. ServingError when it cannot be had."""
    raise_file_limit()
    with contextlib.ExitStack() as stack:
        try:
            make_folder(settings)
            if settings.database_url is None:
                stack.enter_context(locked(settings.data))
        except OSError as error:
            raise ServingError(f"cannot use the data directory {settings.data}: {error}") from error
        yield


def is_reachable(host: str, proxies: str | None) -> bool:
    """True where others than the programs of this machine reach the server."""
    try:
        return bool(proxies) or not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"


def prepare(settings: "Settings", password: str | None, is_open: bool) -> str | None:
    """Bring the database up to date, and see that it has a vendor. The first vendor's password: the one given, else
    the one in the folder (None when it is not there any more). With `is_open`, ServingError for a vendor whose password
    is short."""
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError

    from .database import Database, SchemaError, reason_of
    from .firmware import FirmwareFiles
    from .settings import FILE

    is_alone = settings.database_url is None
    try:
        if is_alone:
            (settings.data / FILE).touch(0o600)
        database = Database(settings.url)
        try:
            database.migrate()
            files = FirmwareFiles(settings.firmware_folder)
            if is_alone:
                files.clear()
            first = _first_vendor(database, settings.data, password)
            if is_open:
                _require_long_passwords(database)
            return first
        finally:
            database.close()
    except (OSError, SQLAlchemyError, SchemaError) as error:
        reason = reason_of(error) if isinstance(error, DBAPIError) else error
        where = f"the data directory {settings.data}" if is_alone else "the database"
        raise ServingError(f"cannot use {where}: {reason}") from error


def prepare_apart(settings: "Settings", password: str | None, is_open: bool) -> str | None:
    """The same in a process of its own: what it takes of memory is given back."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        return pool.submit(prepare, settings, password, is_open).result()


def make_folder(settings: "Settings") -> None:
    """The data folder, readable by its owner only; where a web server sends the firmware, it may read that."""
    is_shared = settings.accel_prefix is not None
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.chmod(settings.data, 0o710 if is_shared else 0o700)
    settings.firmware_folder.mkdir(exist_ok=True)
    os.chmod(settings.firmware_folder, 0o750 if is_shared else 0o700)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The folder for this process alone. ServingError when another one has it."""
    path = folder / "lock"
    handle: TextIO = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "w")
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ServingError(f"another server uses {folder}: stop it, or name another folder") from error
        yield


def raise_file_limit() -> None:
    """Let the process have as many connections as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, _FILES_WANTED)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def address_of(listener: socket.socket, host: str, is_tls: bool) -> str:
    """The server's address."""
    shown_host = f"[{host}]" if ":" in host else host
    return f"{'https' if is_tls else 'http'}://{shown_host}:{listener.getsockname()[1]}"


def password_file(data_dir: Path) -> Path:
    """Where the first vendor's password lies."""
    return data_dir / "vendor-password"


def read_password(path: Path) -> str:
    """The password in a file: its text without the end of line. OSError when there is none."""
    try:
        password = path.read_text().strip()
    except UnicodeDecodeError:
        password = ""
    if not password:
        raise OSError(f"{path} holds no password")
    return password


def write_password(path: Path, password: str) -> None:
    """Keep a password where only its owner reads it."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        os.chmod(path, 0o600)
        file.write(password + "\n")


def _first_vendor(database: Any, data: Path, password: str | None) -> str | None:
    from sqlalchemy import select

    from .model import Vendor as Row
    from .passwords import hash_password, is_password, new_password

    path = password_file(data)
    with database.writing() as session:
        first = session.get(Row, FIRST_VENDOR)
        if password is not None:
            if first is None:
                session.add(Row(name=FIRST_VENDOR, password_hash=hash_password(password)))
            elif not is_password(password.encode(), first.password_hash):
                first.password_hash = hash_password(password)
            return password
        if session.scalar(select(Row.name).limit(1)) is None:
            # 0.1 kept the password in the file alone.
            password = read_password(path) if path.exists() else new_password()
            write_password(path, password)
            session.add(Row(name=FIRST_VENDOR, password_hash=hash_password(password)))
            return password
    return read_password(path) if path.exists() else None


def _require_long_passwords(database: Any) -> None:
    from sqlalchemy import select

    from .model import Vendor as Row
    from .passwords import MIN_CHARS, is_hash_of_short

    with database.reading() as session:
        for vendor in session.scalars(select(Row)):
            if is_hash_of_short(vendor.password_hash):
                raise ServingError(
                    f"the password of vendor {vendor.name} is shorter than the {MIN_CHARS} characters that it needs"
                    f" where others reach the server: give it a new one with {PASSWORD_VARIABLE} or --password-file"
                )


@contextmanager
def _context(settings: "Settings") -> Iterator[Any]:
    from .access import Context
    from .database import Database

    database = Database(settings.url)
    try:
        yield Context(settings, database)
    finally:
        database.close()


def _config(app: Any, settings: "Settings", tls: Tls | None) -> "uvicorn.Config":
    import uvicorn

    return uvicorn.Config(
        app,
        http="tools.server.protocol:LimitedProtocol",  # type: ignore[arg-type]
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_STOP_TIMEOUT_S,
        proxy_headers=settings.proxies is not None,
        forwarded_allow_ips=settings.proxies,
        server_header=False,
        ssl_certfile=str(tls.certificate) if tls else None,
        ssl_keyfile=str(tls.key) if tls else None,
    )


def _tell_end(thread: threading.Thread, ended: threading.Event) -> None:
    thread.join()
    ended.set()


class Certificate:
    """Notices a new certificate, and has it taken."""

    def __init__(self, tls: Tls, take: Callable[[], None]) -> None:
        self._tls = tls
        self._take = take
        self._taken = tls.changed()

    def look(self) -> None:
        """Have it taken if it is new. One that cannot be used is said, and the old one stays."""
        try:
            changed = self._tls.changed()
            if changed == self._taken:
                return
            self._taken = changed
            self._tls.load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
            self._take()
            log.info("new certificate %s", self._tls.certificate)
        except (OSError, ServingError) as error:
            log.warning("the certificate %s stays as it was: %s", self._tls.certificate, error)


def _watch(certificate: Certificate) -> None:
    while True:
        time.sleep(_LOOK_S)
        certificate.look()


def _end_with(parent: int) -> None:
    """End this process when the one that started it is gone: nobody would stop it any more."""
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os.kill(os.getpid(), signal.SIGTERM)


def _server(config: "uvicorn.Config", tls: Tls | None) -> "uvicorn.Server":
    import uvicorn

    class Server(uvicorn.Server):
        """One that takes new certificates."""

        _certificate = Certificate(tls, lambda: tls.load(config.ssl)) if tls else None  # type: ignore[arg-type]

        async def on_tick(self, counter: int) -> bool:
            if self._certificate and counter % _TICKS_PER_LOOK == 0:
                self._certificate.look()
            return await super().on_tick(counter)

    return Server(config)


def _no_passphrase() -> str:
    raise ServingError("the key needs a passphrase: remove it (openssl pkey)")
