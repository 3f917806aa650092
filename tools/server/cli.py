"""The command line: `serve` runs a server, everything else is a client of one that runs."""

import argparse
import os
import signal
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import httpx

from . import commands
from .client import Vendor, VendorError
from .commands import UsageError
from .serving import PASSWORD_VARIABLE, ServingError, password_file, read_password, running

_DATA = Path("build/server")
_SERVER = "http://127.0.0.1:8080"


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
        return _failed(str(error), 2)
    except (VendorError, ServingError, OSError) as error:
        return _failed(str(error), 1)
    except KeyboardInterrupt:
        return _failed("interrupted", 1)
    return 0


def _failed(message: str, status: int) -> int:
    print("server: " + " ".join(message.split()), file=sys.stderr)
    return status


def serve(options: argparse.Namespace) -> None:
    """Run a server until SIGTERM or SIGINT."""
    password, where = _given_password(options)
    if (options.certificate is None) != (options.key is None):
        raise UsageError("--certificate and --key belong together")
    tls = (options.certificate, options.key) if options.certificate else None
    with running(options.data, options.firmware_form, options.port, options.host, password, tls) as server:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: server.stop())
        if options.port_file:
            _write_whole(options.port_file, server.url.rpartition(":")[2] + "\n")
        where = where if password else password_file(options.data)
        print(f"GadgetKeeper server: {server.url}, vendor password in {where}", flush=True)
        server.wait()


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
    what = f"holds the vendor's password (default: {PASSWORD_VARIABLE}, else {password_file(_DATA)})"
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
            hint = f"the vendor's password is needed: give --password-file or set {PASSWORD_VARIABLE}"
            raise UsageError(f"{hint} ({error})") from error
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
    serving.add_argument("--data", type=Path, default=_DATA, metavar="DIR", help="its records and firmware files")
    serving.add_argument("--firmware-form", choices=("auto", "string", "object", "raw"), default="auto")
    serving.add_argument("--port-file", type=Path, metavar="FILE", help="gets the port once the server listens")
    serving.add_argument("--password-file", type=Path, metavar="FILE", default=argparse.SUPPRESS)
    serving.add_argument("--certificate", type=_file, metavar="FILE", help="speak https: the certificate chain, PEM")
    serving.add_argument("--key", type=_file, metavar="FILE", help="the certificate's key, PEM")
    serving.set_defaults(run=serve)

    def command(noun, verb: str, run: Callable[[Vendor, argparse.Namespace], None], *names: str):
        added = noun.add_parser(verb, parents=[common])
        for name in names:
            added.add_argument(name, metavar=name.upper())
        added.set_defaults(run=lambda options: _with_vendor(run, options))
        return added

    def group(name: str, what: str):
        return nouns.add_parser(name, help=what).add_subparsers(required=True, metavar="COMMAND")

    product = group("product", "create, list")
    creating = command(product, "create", commands.create_product, "name")
    creating.add_argument("--template", required=True, metavar="TEMPLATE")
    creating.add_argument("--description", default="")
    command(product, "list", commands.list_products)
    serial = group("serial", "add to a product, list")
    command(serial, "list", commands.list_serials, "product")
    adding = command(serial, "add", commands.add_serials, "product")
    adding.add_argument("serials", nargs="*", metavar="SERIAL")
    adding.add_argument("--file", type=_file, help="more of them, one per line")
    template = group("template", "create, list")
    command(template, "create", commands.create_template, "name").add_argument("--description", default="")
    command(template, "list", commands.list_templates)
    version = group("version", "create, list")
    publishing = command(version, "create", commands.create_version, "template")
    publishing.add_argument("file", type=_file, metavar="FILE", help="the app image")
    publishing.add_argument("--description", default="")
    publishing.add_argument("--extract-app", action="store_true", help="take the app out of a combined ESP32 image")
    command(version, "list", commands.list_versions, "template")
    command(
        group("target", "set the version that things should run"), "set", commands.set_target, "template", "version"
    )
    thing = group("thing", "list, show, pin, unpin, delete")
    command(thing, "list", commands.list_things)
    command(thing, "show", commands.show_thing, "thing")
    command(thing, "pin", commands.pin_thing, "thing", "version")
    command(thing, "unpin", commands.unpin_thing, "thing")
    command(thing, "delete", commands.delete_thing, "thing")
    return parser


def _with_vendor(run: Callable[[Vendor, argparse.Namespace], None], options: argparse.Namespace) -> None:
    with open_vendor(options) as vendor:
        run(vendor, options)


def _given_password(options: argparse.Namespace) -> tuple[str | None, str | Path]:
    """The password that the user gave, and where; None when they did not."""
    if options.password_file:
        try:
            return read_password(options.password_file), options.password_file
        except OSError as error:
            raise UsageError(f"--password-file: {error}") from error
    return os.environ.get(PASSWORD_VARIABLE) or None, PASSWORD_VARIABLE


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
