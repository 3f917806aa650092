"""`python -m tools.factory`: makes flash images and writes them to boards. `make` has a target for each command."""

import argparse
import getpass
import os
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from tools import firmware
from tools.arguments import count, failed, file_name, free_text, shown
from tools.factory import ROOT, batch, labels, serials, settings, setup_network, summary
from tools.factory.errors import FactoryError
from tools.factory.files import write_whole
from tools.factory.flash import BAUD, Board, connected
from tools.factory.layout import FLASH_SIZES
from tools.factory.order import Order, make_order
from tools.factory.record import Entries, Record
from tools.server.cli import add_password_file, open_vendor
from tools.server.client import VendorError
from tools.server.commands import UsageError
from tools.text_files import TextError, read_text

PASSWORD_VARIABLE = "WIFI_PASSWORD"
_MICROPYTHON = "1.27.0"
RECORD = ROOT / "manufacturing.jsonl"
"""Not in build/, which `make clean` empties."""


class Parser(argparse.ArgumentParser):
    """One line for wrong arguments, instead of the usage text and a line; and no option by a part of its name, which
    another release may give to another option."""

    def __init__(self, **options) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def main(arguments: list[str] | None = None) -> int:
    """Carry out a command. 0: done, 1: it failed, 2: wrong arguments; both with one line on standard error."""
    try:
        options = _parser().parse_args(arguments)
        options.run(options)
    except UsageError as error:
        return failed("factory", error, 2)
    except (FactoryError, firmware.FirmwareError, VendorError, OSError) as error:
        return failed("factory", error, 1)
    except (KeyboardInterrupt, EOFError):
        return failed("factory", "interrupted", 1)
    return 0


def image(options: argparse.Namespace) -> None:
    """Make one thermometer's flash image, and its label."""
    order = _order(options)
    if options.version_id and options.check:
        with open_vendor(options, _trust(order)) as vendor:
            batch.check_version(vendor, options.version_id)
    secrets = order.secrets(options.out, options.serial)
    made = order.image(options.serial, secrets)
    write_whole(options.out, made)
    network = setup_network.network_name(order.product, options.serial)
    label = options.out.with_name(options.out.stem + ".label.html")
    write_whole(
        label, labels.sheet(order.product, [labels.Label(options.serial, network, secrets.setup_password)]).encode()
    )
    summary.show(order, options.serial, made, options.out)
    print(f"label to print: {shown(label)}, with the password of its setup network {shown(network)}")


def flash(options: argparse.Namespace) -> None:
    """Write one flash image to the board at the port."""
    with connected(options.port, options.baud) as board:
        _say_board(board)
        with _progress("writing", TaskProgressColumn()) as progress:
            item = batch.flash_one(options.image, Record(options.record), board, options.erase, options.reuse, progress)
    print(f"{item.serial} is on board {board.mac}, verified; it starts now")


def make_batch(options: argparse.Namespace) -> None:
    """Make an image for each serial number of a list, register them, and make a label sheet."""
    listed = serials.read_serials(options.serials, options.column)
    order = _order(options)
    order.require_no_secrets()
    if not options.register and not options.product:
        raise UsageError("REGISTER=0 needs the product's name for the labels: PRODUCT=…")
    entries = Record(options.record).read()
    if not options.register:
        with batch.opened(options.out, listed, options.product):
            _finish(options, order, options.product, _images(options, order, listed, entries))
        return
    with open_vendor(options, _trust(order)) as vendor:
        registration = batch.look(vendor, options.product, listed, options.version_id)
        name = registration.product["name"]
        with batch.opened(options.out, listed, name):
            if not options.new_secrets:
                batch.require_own_secrets(vendor, registration, options.out, listed)
            made = _images(options, order, listed, entries)
            # A board that exists has the secret that it has: only its own image's is told to the server.
            told = {serial: own for serial, own in made.secrets.items() if serial not in entries.mac_of}
            count = batch.register(vendor, registration, listed, told, set(told) if options.new_secrets else set())
            known = len(listed) - count
            print(f"registered under {shown(name)}: {count}" + (f" ({known} were already)" if known else ""))
            _finish(options, order, name, made)


def _images(options: argparse.Namespace, order: Order, listed: list[str], entries: Entries) -> batch.Made:
    with _progress("images", MofNCompleteColumn()) as progress:
        return batch.make(order, listed, options.out, entries, progress)


def _finish(options: argparse.Namespace, order: Order, product: str, made: batch.Made) -> None:
    unlabelled = batch.finish(order, product, options.out, made)
    for note in order.notes:
        print(f"note: {shown(note)}")
    kept = len(made.items) - made.count
    print(f"images made in {options.out}: {made.count}" + (f" ({kept} kept: their boards exist)" if kept else ""))
    if unlabelled:
        print(f"note: without a label: {unlabelled}; their images have no setup network, or are deleted")
    print(f"labels to print: {options.out / batch.LABELS}")
    print(f"next: make flash-batch PORT=… BATCH={options.out}")


def flash_batch(options: argparse.Namespace) -> None:
    """Write the next image of a batch to the board at the port, or to several boards, one after the other."""
    _, items = batch.read_batch(options.batch)
    record = Record(options.record)
    for number in range(options.count):
        if number:
            input("attach the next board, then press Enter (Ctrl-C ends) ")
        with connected(options.port, options.baud) as board:
            _say_board(board)
            with _progress("writing", TaskProgressColumn()) as progress:
                item = batch.flash_next(items, record, board, options.erase, options.reuse, progress)
        entries = record.read()
        done = sum(entries.is_flashed(item.serial) for item in items)
        print(f"{item.serial} is on board {board.mac}, verified; {done} of {len(items)} done")


def release(options: argparse.Namespace) -> None:
    """Free a serial number whose board is gone."""
    mac = Record(options.record).release(options.serial)
    print(f"{options.serial} is free again; board {mac} must never be used")


def _parser() -> Parser:
    parser = Parser(prog="thermometer", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    common = Parser(add_help=False)
    common.add_argument(
        "--firmware", type=_file("FIRMWARE"), help="combined image, or app image (default: MicroPython v1.27.0)"
    )
    common.add_argument("--bootloader", type=_file("BOOTLOADER"), help="boot loader image, for an app image")
    common.add_argument(
        "--app", type=file_name, metavar="FOLDER", help="with product code in place of the thermometer's"
    )
    common.add_argument("--server", type=_checked(settings.check_server, "SERVER"), required=True)
    common.add_argument(
        "--wifi-ssid",
        type=free_text,
        default="",
        metavar="NAME",
        help=f"its password is asked for, or comes from a file or {PASSWORD_VARIABLE}; default: the owner chooses",
    )
    common.add_argument("--wifi-password-file", type=_file("WIFI_PASSWORD_FILE"), metavar="FILE", help="one line")
    common.add_argument("--wifi-password", type=_never, help=argparse.SUPPRESS)
    common.add_argument("--allow-localhost", action="store_true", help="for a virtual board on this computer")
    common.add_argument("--ca", type=_file("CA"), help="certificates to check the server against, PEM or DER")
    common.add_argument("--signing-key", type=_file("SIGNING_KEY"), help="RSA-3072 key in PEM; only its digest is used")
    common.add_argument(
        "--version-id", type=free_text, metavar="ID", help="the published version that this firmware is"
    )
    common.add_argument("--config", type=_file("CONFIG"), help="further settings, JSON")
    common.add_argument("--flash-size", default="4MB", metavar="SIZE", help=", ".join(FLASH_SIZES))

    add_password_file(common)

    making = commands.add_parser("factory", parents=[common], help="make one thermometer's flash image")
    making.add_argument("--serial", type=_checked(settings.check_serial, "SERIAL"), required=True)
    making.add_argument("--out", type=_output, required=True)
    making.add_argument(
        "--no-check", dest="check", action="store_false", help="do not ask the server whether it has that version"
    )
    making.set_defaults(run=image)

    recording = Parser(add_help=False)
    recording.add_argument(
        "--record", type=file_name, default=RECORD, help="the manufacturing record (default: %(default)s)"
    )

    batching = commands.add_parser("batch", parents=[common, recording], help="register, make images and labels")
    batching.add_argument("--serials", type=_file("SERIALS"), required=True, help="CSV with the serial numbers")
    batching.add_argument("--out", type=_folder, required=True)
    batching.add_argument("--column", type=free_text, help="of the serial numbers in the CSV (default: serial)")
    batching.add_argument("--product", type=free_text, help="default: the only one there is")
    batching.add_argument("--no-register", dest="register", action="store_false", help="leave the server alone")
    batching.add_argument("--new-secrets", action="store_true", help="replace secrets that the server knows")
    batching.set_defaults(run=make_batch)

    board = Parser(add_help=False, parents=[recording])
    board.add_argument("--port", type=_port, required=True, help="/dev/ttyUSB0, socket://host:port, rfc2217://…")
    board.add_argument("--baud", type=count, default=BAUD, help="while writing (default: %(default)s)")
    board.add_argument("--erase", action="store_true", help="erase the whole flash before")
    board.add_argument("--reuse", action="store_true", help="give a board another serial number than it has")

    flashing = commands.add_parser("flash", parents=[board], help="write one image to a board")
    flashing.add_argument("--image", type=_file("IMAGE"), required=True)
    flashing.set_defaults(run=flash)

    flashing = commands.add_parser("flash-batch", parents=[board], help="write a batch's next image to a board")
    flashing.add_argument("--batch", type=file_name, required=True)
    flashing.add_argument("--count", type=count, default=1, help="boards to do, one after the other")
    flashing.set_defaults(run=flash_batch)

    releasing = commands.add_parser("release", parents=[recording], help="free the serial number of a lost board")
    releasing.add_argument("--serial", type=_checked(settings.check_serial, "RELEASE"), required=True)
    releasing.set_defaults(run=release)
    return parser


def _say_board(board: Board) -> None:
    size = f"{board.flash_bytes >> 20} MiB" if board.flash_bytes else "unknown size"
    print(f"{board.port}: an ESP32 with {size} of flash, MAC {board.mac}", flush=True)


@contextmanager
def _progress(what: str, column) -> Iterator[Callable[[int, int], None]]:
    """What to tell the work done and all there is: a bar, when a person watches."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda done, total: None
        return
    columns = (TextColumn(what), BarColumn(), column, TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("")
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _order(options: argparse.Namespace) -> Order:
    return make_order(
        options.firmware or firmware.combined_image(_MICROPYTHON),
        options.server,
        _wifi(options),
        options.bootloader,
        options.ca,
        options.signing_key,
        options.version_id,
        options.config,
        options.flash_size,
        allow_localhost=options.allow_localhost,
        app=options.app,
    )


def _trust(order: Order) -> ssl.SSLContext | bool:
    """Whom the desk trusts for https: those whom the boards will trust."""
    pem = order.files.get(settings.CA_PATH)
    return ssl.create_default_context(cadata=pem.decode()) if pem else True


def _wifi(options: argparse.Namespace) -> tuple[str, str] | None:
    """The WiFi network that the board knows from the beginning, and its password; None: its owner gives it one."""
    name, path = options.wifi_ssid, options.wifi_password_file
    # Never an argument: those are in the list of processes, for everybody to read.
    password = os.environ.get(PASSWORD_VARIABLE)
    if not name:
        if path:
            raise UsageError("a WiFi password without its network's name: WIFI_SSID=…")
        return None
    if path:
        if password:
            raise UsageError(f"two WiFi passwords are given, in {PASSWORD_VARIABLE} and in {path}: give one")
        return name, _password_in(path)
    if password is None:
        if not sys.stdin.isatty():
            raise UsageError(
                f"{PASSWORD_VARIABLE} is missing ({PASSWORD_VARIABLE}= for an open network); or --wifi-password-file"
            )
        password = getpass.getpass(f"password of WiFi {shown(name)} (not shown; empty: an open network): ")
    return name, password


def _password_in(path: Path) -> str:
    """The file's one line, exactly, without its line end. FactoryError when there are more: the password is not
    shown."""
    try:
        text = read_text(path)
    except TextError as error:
        raise FactoryError(f"{path} holds no WiFi password: {error}") from error
    password = text.removesuffix("\n").removesuffix("\r")
    if "\n" in password or "\r" in password:
        raise FactoryError(f"{path} holds more than one line: no WiFi password")
    return password


def _checked(check, variable: str):
    """A converter for argparse around a check that raises ValueError."""

    def convert(text: str) -> str:
        try:
            return check(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{error} ({variable}=…)") from None

    return convert


def _file(variable: str):
    def convert(text: str) -> Path:
        if not file_name(text).is_file():
            raise argparse.ArgumentTypeError(f"{text!r}: no such file ({variable}=…)")
        return Path(text)

    return convert


def _never(text: str) -> str:
    raise argparse.ArgumentTypeError(
        f"a password on the command line stands in the list of processes: type it when asked, or give it by "
        f"--wifi-password-file or in the environment, {PASSWORD_VARIABLE}"
    )


def _output(text: str) -> Path:
    if not text or file_name(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is no file name like build/first.bin (OUT=…)")
    return Path(text)


def _folder(text: str) -> Path:
    if not text or file_name(text).is_file():
        raise argparse.ArgumentTypeError(f"{text!r} is no folder name like build/batch (OUT=…)")
    return Path(text)


def _port(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("no port is given: PORT=/dev/ttyUSB0")
    return free_text(text)


if __name__ == "__main__":
    sys.exit(main())
