"""A server that runs: on a port of its own, in a thread, until it is told to stop."""

import os
import secrets
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .client import Vendor

_STOP_TIMEOUT_S = 1  # for requests under way
PASSWORD_VARIABLE = "GADGETKEEPER_PASSWORD"


class ServingError(Exception):
    """The server cannot start; the text says why."""


class Running:
    """A running server: `url`, `vendor` (a client for it), `password`."""

    def __init__(self, url: str, password: str, server, thread: threading.Thread, verify=True) -> None:
        self.url = url
        self.password = password
        self.vendor = Vendor(url, password, verify)
        self._server = server
        self._thread = thread

    def stop(self) -> None:
        """Ask the server to end; safe to call from a signal handler."""
        self._server.should_exit = True

    def wait(self) -> None:
        """Wait until the server has ended."""
        self._thread.join()


@contextmanager
def running(
    data_dir: Path | str,
    firmware_form: str = "auto",
    port: int = 0,
    host: str = "127.0.0.1",
    password: str | None = None,
    tls: tuple[Path | str, Path | str] | None = None,
) -> Iterator[Running]:
    """A server on the records in `data_dir` (made when missing), listening when the block begins, ended when it ends.
    Port 0: a free one. Password None: the one of `data_dir`. With `tls`, the PEM files of a certificate chain and its
    key, it speaks https. Raises ServingError when it cannot start."""
    # Here, so that the command line's client side starts without them.
    import uvicorn
    from sqlalchemy.exc import DatabaseError

    from .access import Context
    from .app import create_app
    from .firmware import FirmwareFiles
    from .model import Database

    data_dir = Path(data_dir)
    verify = _own_certificate(*tls) if tls else True
    # First the port: a second server started by mistake ends here, before it touches the records of the first.
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family)
    except (OSError, OverflowError, UnicodeError) as error:
        raise ServingError(f"cannot listen on {host} port {port}: {error}") from error
    with listener:
        # Inherited by every connection. Without it an answer's body waits 40 ms for the acknowledgment of its head.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            files = FirmwareFiles(data_dir / "firmware")
            database = Database(data_dir / "gadgetkeeper.sqlite")
            if password is None:
                password = own_password(data_dir)
        except (OSError, DatabaseError) as error:
            reason = getattr(error, "orig", None) or error
            raise ServingError(f"cannot use the data directory {data_dir}: {reason}") from error
        context = Context(database, files, firmware_form, password)
        config = uvicorn.Config(
            create_app(context),
            log_level="warning",
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=_STOP_TIMEOUT_S,
            ssl_certfile=tls and tls[0],
            ssl_keyfile=tls and tls[1],
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), name="gadgetkeeper", daemon=True)
        # The socket listens already: a request that comes before the thread is up waits in the backlog.
        thread.start()
        shown_host = f"[{host}]" if family == socket.AF_INET6 else host
        url = f"{'https' if tls else 'http'}://{shown_host}:{listener.getsockname()[1]}"
        handle = Running(url, password, server, thread, verify)
        try:
            with handle.vendor:
                yield handle
        finally:
            handle.stop()
            handle.wait()
            database.close()


def _own_certificate(certificate: Path | str, key: Path | str) -> ssl.SSLContext:
    """What trusts a server with this certificate, whatever name it is for, and no other. ServingError when certificate
    or key cannot be used."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=_no_passphrase)
        context.load_verify_locations(certificate)
    except (OSError, ServingError) as error:
        raise ServingError(f"cannot use the certificate {certificate} with the key {key}: {error}") from error
    return context


def _no_passphrase() -> str:
    raise ServingError("the key needs a passphrase: remove it (openssl pkey)")


def own_password(data_dir: Path) -> str:
    """The vendor's password of a data directory; generated at the first call."""
    path = password_file(data_dir)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return read_password(path)
    with open(handle, "w") as file:
        password = secrets.token_urlsafe(24)
        file.write(password + "\n")
    return password


def password_file(data_dir: Path) -> Path:
    """Where the vendor's password of a data directory lies."""
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
