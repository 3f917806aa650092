"""The command line: `serve` runs a server, everything else is a client of one that runs."""

import argparse
import os
import signal
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import httpx

from tools.arguments import failed, why

from . import commands, plan
from .client import Vendor, VendorError
from .commands import UsageError
from .serving import PASSWORD_VARIABLE, ServingError, is_reachable, password_file, read_password, running

if TYPE_CHECKING:
    from .settings import Settings

_DATA = Path("build/server")
_SERVER = "http://127.0.0.1:8080"
_WORKERS_MAX = 64
_SERVE_SETTINGS = ("data", "firmware_form", "accel_prefix", "proxies")


class Parser(argparse.ArgumentParser):
    """One line for wrong arguments, instead of the usage text and a line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} ({self.prog} --help lists what there is)")


def main(arguments: list[str] | None = None) -> int:
    """Carry out a command. 0: done, 1: it failed, 2: wrong arguments; both with one line on standard error."""
    try:
        options = _parser().parse_args(arguments)
        options.run(options)
    except UsageError as error:
        return failed("server", error, 2)
    except BrokenPipeError:  # whoever read the output has seen enough
        sys.stderr.close()
        return 1
    except (VendorError, ServingError, OSError) as error:
        return failed("server", error, 1)
    except KeyboardInterrupt:
        return failed("server", "interrupted", 1)
    return 0


def serve(options: argparse.Namespace) -> None:
    """Run a server until SIGTERM or SIGINT."""
    from . import logs
    from .passwords import MIN_CHARS, is_short
    from .serving import Tls, address_of, held, listening, prepare_apart, serve_processes

    os.umask(0o077)
    logs.configure(options.log_level)
    password, where = _given_password(options)
    if password is not None and is_short(password) and is_reachable(options.host, options.proxies):
        raise UsageError(
            f"the vendor's password has {len(password)} characters: where others reach the server (--host"
            f" {options.host}{', through a proxy' if options.proxies else ''}) it needs {MIN_CHARS}"
        )
    if (options.certificate is None) != (options.key is None):
        raise UsageError("--certificate and --key belong together")
    tls = Tls(options.certificate, options.key) if options.certificate else None
    settings = _settings(options)

    def announce(url: str, is_kept: bool) -> None:
        if options.port_file:
            _write_whole(options.port_file, url.rpartition(":")[2] + "\n")
        kept = password_file(options.data) if is_kept else "the database (as a hash)"
        print(f"GadgetKeeper server: {url}, vendor password in {where if password else kept}", flush=True)

    if options.workers > 1:
        with listening(options.host, options.port) as listener, held(settings):
            kept = prepare_apart(settings, password, is_reachable(options.host, options.proxies))
            if tls:
                tls.trusting()
            announce(address_of(listener, options.host, bool(tls)), kept is not None)
            serve_processes(settings, listener, tls, options.workers)
        return
    files = (options.certificate, options.key) if tls else None
    values = {name: value for name, value in vars(settings).items() if name not in ("data", "firmware_form")}
    with running(options.data, options.firmware_form, options.port, options.host, password, files, **values) as server:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: server.stop())
        announce(server.url, bool(server.password))
        server.wait()


def back_up(options: argparse.Namespace) -> None:
    """Copy the records into a new folder."""
    from . import backup

    _require_sqlite("pg_dump copies the database, and any tool the folder with the firmware")
    count = backup.backup(_settings(options), options.folder)
    print(f"{options.folder}: the database and {count} firmware file{'s' * (count != 1)}")


def restore(options: argparse.Namespace) -> None:
    """Make a data folder of a backup."""
    from . import backup

    _require_sqlite("pg_restore brings the database back, and any tool the folder with the firmware")
    count = backup.restore(options.folder, _settings(options))
    print(f"{options.data}: restored, with {count} firmware file{'s' * (count != 1)}")


def _settings(options: argparse.Namespace) -> "Settings":
    from .settings import Settings

    values = {name: value for name, value in vars(options).items() if name in _SERVE_SETTINGS and value is not None}
    return Settings(**values, **dict(getattr(options, "limit", None) or []), database_url=_database_url())


def _database_url() -> str | None:
    return os.environ.get("DATABASE_URL") or None


def _require_sqlite(instead: str) -> None:
    if _database_url():
        raise UsageError(f"DATABASE_URL names another database: {instead}")


def add_connection(
    parser: argparse.ArgumentParser,
    server: str = _SERVER,
    password_file_default: str | None = None,
    ca_default: object = True,
) -> None:
    """Give the parser the options that say which server to talk to, for `open_vendor`."""
    parser.add_argument(
        "--server", type=_url, metavar="URL", default=server, help=f"the running server (default: {_SERVER})"
    )
    parser.add_argument(
        "--ca", type=_trust, metavar="FILE", default=ca_default, help="PEM file with the CA that an https server has"
    )
    add_password_file(parser, password_file_default)


def add_password_file(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Give the parser the option that says where the vendor's password is, for `open_vendor`."""
    what = f"holds the vendor's password (default: {PASSWORD_VARIABLE}, otherwise {password_file(_DATA)})"
    parser.add_argument("--password-file", type=Path, metavar="FILE", default=default, help=what)


def open_vendor(options: argparse.Namespace, verify: ssl.SSLContext | bool | None = None) -> Vendor:
    """The vendor's calls at the server of `options.server`, with the password of `options.password_file`, of the
    environment, or of the server's data directory. `verify` says whom to trust for https, instead of `options.ca`.
    UsageError when there is no password."""
    password, _ = _given_password(options)
    if password is None:
        try:
            password = read_password(password_file(_DATA))
        except OSError as error:
            raise UsageError(
                f"the vendor's password is needed ({why(error)}): the server of this folder writes it there, make "
                f"server; for another one name the file, --password-file or PASSWORD_FILE=…, or set {PASSWORD_VARIABLE}"
            ) from error
    return Vendor(options.server, password, options.ca if verify is None else verify)


def _parser() -> Parser:
    parser = Parser(prog="python -m tools.server", description=__doc__)
    add_connection(parser, os.environ.get("GADGETKEEPER_SERVER", _SERVER))
    common = Parser(add_help=False)
    # The same once more behind the command; not given there, they leave alone what stands before it.
    add_connection(common, argparse.SUPPRESS, argparse.SUPPRESS, argparse.SUPPRESS)
    nouns = parser.add_subparsers(required=True, metavar="COMMAND")

    serving = nouns.add_parser("serve", help="run a server")
    serving.add_argument("--host", default="127.0.0.1")
    serving.add_argument("--port", type=_port, default=8080, help="0: a free one")
    _add_data(serving)
    serving.add_argument("--workers", type=_workers, default=1, metavar="N", help="processes; one for each core")
    serving.add_argument("--firmware-form", choices=("auto", "string", "object", "raw"), default="auto")
    serving.add_argument("--port-file", type=Path, metavar="FILE", help="gets the port once the server listens")
    serving.add_argument("--password-file", type=Path, metavar="FILE", default=argparse.SUPPRESS)
    serving.add_argument("--certificate", type=_file, metavar="FILE", help="speak https: the certificate chain, PEM")
    serving.add_argument("--key", type=_file, metavar="FILE", help="the certificate's key, PEM")
    serving.add_argument("--proxies", metavar="ADDRESSES", help="believe X-Forwarded-For from these, like 127.0.0.1")
    serving.add_argument(
        "--accel-redirect",
        dest="accel_prefix",
        metavar="PREFIX",
        help="let nginx in front send the firmware from this internal location, like /firmware/",
    )
    serving.add_argument(
        "--limit",
        type=_limit,
        action="append",
        metavar="NAME=VALUE",
        help="change a limit (docs/server.md lists them), like history_days=30",
    )
    serving.add_argument("--log-level", choices=("info", "warning"), default="warning", help="info: every request")
    serving.set_defaults(run=serve)
    backing_up = nouns.add_parser("backup", help="copy the records into a new folder; the server may go on")
    backing_up.add_argument("folder", type=Path, metavar="FOLDER")
    _add_data(backing_up)
    backing_up.set_defaults(run=back_up)
    restoring = nouns.add_parser("restore", help="make a data folder of a backup")
    restoring.add_argument("folder", type=Path, metavar="FOLDER")
    _add_data(restoring)
    restoring.set_defaults(run=restore)

    def command(noun, verb: str, run: Callable[[Vendor, argparse.Namespace], None], *names: str):
        added = noun.add_parser(verb, parents=[common])
        for name in names:
            added.add_argument(name, metavar=name.upper())
        added.set_defaults(run=lambda options: _with_vendor(run, options))
        return added

    def group(name: str, what: str):
        return nouns.add_parser(name, help=what).add_subparsers(required=True, metavar="COMMAND")

    product = group("product", "create, list, require-secret")
    creating = command(product, "create", commands.create_product, "name")
    creating.add_argument("--template", required=True, metavar="TEMPLATE")
    creating.add_argument("--description", default="")
    creating.add_argument("--require-secret", action="store_true", help="boards must show their device secret")
    command(product, "list", commands.list_products)
    requiring = command(product, "require-secret", commands.require_secret, "product")
    requiring.add_argument("required", choices=("yes", "no"))
    serial = group("serial", "add to a product, list, secrets, block, unblock, remove")
    command(serial, "list", commands.list_serials, "product")
    adding = command(serial, "add", commands.add_serials, "product")
    adding.add_argument("serials", nargs="*", metavar="SERIAL")
    adding.add_argument("--file", type=_file, help="more of them: a CSV file, as make batch reads it")
    proving = command(serial, "secrets", commands.set_secrets)
    proving.add_argument("file", type=_file, metavar="FILE", help="a flash image, or the manufacturing record")
    command(serial, "block", commands.block_serial, "serial")
    command(serial, "unblock", commands.unblock_serial, "serial")
    command(serial, "remove", commands.remove_serial, "serial")
    template = group("template", "create, list")
    command(template, "create", commands.create_template, "name").add_argument("--description", default="")
    command(template, "list", commands.list_templates)
    version = group("version", "create, list, remove")
    publishing = command(version, "create", commands.create_version, "template")
    publishing.add_argument("file", type=_file, metavar="FILE", help="a release; make publish makes one")
    publishing.add_argument("--description", default="")
    command(version, "list", commands.list_versions, "template")
    command(version, "remove", commands.remove_version, "template", "version")
    _add_rollouts(group("rollout", "start, list, show, pause, resume, cancel"), command)
    target = group("target", "set the version that things should run")
    _add_force(command(target, "set", commands.set_target, "template", "version"))
    thing = group("thing", "list, show, pin, unpin, delete")
    listing = command(thing, "list", commands.list_things)
    listing.add_argument("--search", metavar="TEXT", help="the serial number or the name begins with it")
    listing.add_argument("--status", choices=("no target version", "update pending", "up to date"))
    command(thing, "show", commands.show_thing, "thing")
    _add_force(command(thing, "pin", commands.pin_thing, "thing", "version"))
    command(thing, "unpin", commands.unpin_thing, "thing")
    command(thing, "delete", commands.delete_thing, "thing")
    vendor = group("vendor", "add, list, renew-password, remove")
    for verb, run in (("add", commands.add_vendor), ("renew-password", commands.renew_password)):
        command(vendor, verb, run, "name").add_argument("--out", type=Path, required=True, metavar="FILE")
    command(vendor, "list", commands.list_vendors)
    command(vendor, "remove", commands.remove_vendor, "name")
    event = command(nouns, "events", commands.list_events)
    event.add_argument("--subject", help="a serial number or an Id")
    event.add_argument("--limit", type=int, default=100)
    return parser


def _add_rollouts(rollout: argparse._SubParsersAction, command: Callable[..., Parser]) -> None:
    starting = command(rollout, "start", commands.start_rollout, "template", "version")
    starting.add_argument(
        "--canaries",
        type=_argument(plan.listed),
        metavar="SERIALS",
        default=[],
        help="get it first, like THERM1,THERM2",
    )
    starting.add_argument(
        "--stages",
        type=_argument(plan.stages),
        metavar="STAGES",
        default=[],
        help="share and shortest time of each, the last 100 %%, like 1%%:1d,10%%:12h,100%%:1d (0%%: canaries alone);"
        " default: a day each for the canaries, 1, 10, 50 and 100 %%",
    )
    starting.add_argument(
        "--pause-above",
        type=_argument(plan.percent),
        metavar="PERCENT",
        help="of failed and silent things (default: 5)",
    )
    starting.add_argument(
        "--count-min", type=_argument(plan.count), metavar="N", help="with fewer things it goes on (default: 10)"
    )
    starting.add_argument(
        "--silent-after",
        type=_argument(plan.time_s),
        metavar="TIME",
        help="told and nothing heard, like 2h (default: 1h)",
    )
    _add_force(starting)
    listing = command(rollout, "list", commands.list_rollouts)
    listing.add_argument("--template", metavar="TEMPLATE")
    command(rollout, "show", commands.show_rollout, "rollout")
    for verb, run in (("pause", commands.pause_rollout), ("cancel", commands.cancel_rollout)):
        command(rollout, verb, run, "rollout").add_argument("--reason", default="", help="for the record")
    command(rollout, "resume", commands.resume_rollout, "rollout")


def _with_vendor(run: Callable[[Vendor, argparse.Namespace], None], options: argparse.Namespace) -> None:
    with open_vendor(options) as vendor:
        run(vendor, options)


def _given_password(options: argparse.Namespace) -> tuple[str | None, str | Path]:
    """The password that the user gave, and where; None when they did not."""
    if options.password_file:
        try:
            return read_password(options.password_file), options.password_file
        except OSError as error:
            raise UsageError(f"--password-file: {why(error)}") from error
    return os.environ.get(PASSWORD_VARIABLE) or None, PASSWORD_VARIABLE


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, default=_DATA, metavar="DIR", help="its records and firmware files")


def _add_force(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--force",
        action="store_true",
        help="also a version that devices would refuse: unsigned after signed, another product's, below the floor",
    )


def _argument(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """The same for argparse, which shows what a ValueError says only as its own error."""

    def checked(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return checked


def _workers(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text) <= _WORKERS_MAX:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number of processes: 1 to {_WORKERS_MAX}")


def _limit(text: str) -> tuple[str, float]:
    from .settings import LIMITS

    name, _, value = text.partition("=")
    try:
        if name not in LIMITS:
            raise argparse.ArgumentTypeError(f"{name!r} is no limit: there are {', '.join(LIMITS)}")
        return name, LIMITS[name](value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: {value!r} is no number above 0") from None


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to 65535")


def _url(text: str) -> str:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise argparse.ArgumentTypeError(f"{text!r} is no address like {_SERVER}")
    return text


def _file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{text}: no such file")
    return path


def _trust(text: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=_file(text))
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text}: no certificates ({error})") from error


def _write_whole(path: Path, text: str) -> None:
    """For who waits for the file: it is not there, or it is complete."""
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)
