"""`python -m tools.factory`: makes flash images and writes them to boards. `make` has a target for each command."""

import argparse
import os
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from tools.arguments import count
from tools.factory import ROOT, batch, settings, summary
from tools.factory.errors import FactoryError
from tools.factory.files import write_whole
from tools.factory.flash import BAUD, Board, connected
from tools.factory.layout import FLASH_SIZES
from tools.factory.order import Order, make_order
from tools.factory.record import Record
from tools.server.cli import add_password_file, open_vendor
from tools.server.commands import UsageError

PASSWORD_VARIABLE = "WIFI_PASSWORD"
RECORD = ROOT / "manufacturing.jsonl"
"""Not in build/, which `make clean` empties."""


class Parser(argparse.ArgumentParser):
    """One line for wrong arguments, instead of the usage text and a line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def main(arguments: list[str] | None = None) -> int:
    """Carry out a command. 0: done, 1: it failed, 2: wrong arguments; both with one line on standard error."""
    try:
        options = _parser().parse_args(arguments)
        options.run(options)
    except UsageError as error:
        return _failed(error, 2)
    except (FactoryError, OSError) as error:
        return _failed(error, 1)
    except KeyboardInterrupt:
        return _failed("interrupted", 1)
    return 0


def image(options: argparse.Namespace) -> None:
    """Make one thermometer's flash image."""
    order = _order(options)
    made = order.image(options.serial)
    write_whole(options.out, made)
    summary.show(order, options.serial, made, options.out)


def flash(options: argparse.Namespace) -> None:
    """Write one flash image to the board at the port."""
    with connected(options.port, options.baud) as board:
        _say_board(board)
        with _progress("writing", TaskProgressColumn()) as progress:
            item = batch.flash_one(options.image, Record(options.record), board, options.erase, options.reuse, progress)
    print(f"{item.serial} is on board {board.mac}, verified; it starts now")


def make_batch(options: argparse.Namespace) -> None:
    """Register a list of serial numbers, make an image for each, and a label sheet."""
    serials = batch.read_serials(options.serials)
    order = _order(options)
    entries = Record(options.record).read()
    if options.register:
        with open_vendor(options, _trust(order)) as vendor:
            product, count = batch.register(vendor, options.product, serials, options.version_id)
        name = product["name"]
        known = len(serials) - count
        print(f"registered under {name}: {count}" + (f" ({known} were already)" if known else ""))
    elif options.product:
        name = options.product
    else:
        raise UsageError("REGISTER=0 needs the product's name for the labels: PRODUCT=…")
    with _progress("images", MofNCompleteColumn()) as progress:
        count = batch.make(order, serials, name, options.out, entries, lambda done: progress(done, len(serials)))
    for note in order.notes:
        print(f"note: {note}")
    kept = len(serials) - count
    print(f"images made in {options.out}: {count}" + (f" ({kept} kept: their boards exist)" if kept else ""))
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
    parser = Parser(prog="python -m tools.factory", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    common = Parser(add_help=False)
    common.add_argument("--firmware", type=_file("FIRMWARE"), required=True, help="combined image, or app image")
    common.add_argument("--bootloader", type=_file("BOOTLOADER"), help="boot loader image, for an app image")
    common.add_argument("--server", type=_checked(settings.check_server, "SERVER"), required=True)
    common.add_argument("--wifi-ssid", default="", metavar="NAME", help=f"its password comes from {PASSWORD_VARIABLE}")
    common.add_argument("--ca", type=_file("CA"), help="certificates to check the server against, PEM or DER")
    common.add_argument("--signing-key", type=_file("SIGNING_KEY"), help="RSA-3072 key in PEM; only its digest is used")
    common.add_argument("--version-id", metavar="ID", help="the published version that this firmware is")
    common.add_argument("--config", type=_file("CONFIG"), help="further settings, JSON")
    common.add_argument("--flash-size", default="4MB", metavar="SIZE", help=", ".join(FLASH_SIZES))

    making = commands.add_parser("image", parents=[common], help="make one thermometer's flash image")
    making.add_argument("--serial", type=_checked(settings.check_serial, "SERIAL"), required=True)
    making.add_argument("--out", type=_output, required=True)
    making.set_defaults(run=image)

    recording = Parser(add_help=False)
    recording.add_argument(
        "--record", type=Path, default=RECORD, help="the manufacturing record (default: %(default)s)"
    )

    batching = commands.add_parser("batch", parents=[common, recording], help="register, make images and labels")
    batching.add_argument("--serials", type=_file("SERIALS"), required=True, help="CSV with the serial numbers")
    batching.add_argument("--out", type=_folder, required=True)
    batching.add_argument("--product", help="default: the only one there is")
    batching.add_argument("--no-register", dest="register", action="store_false", help="leave the server alone")
    add_password_file(batching)
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
    flashing.add_argument("--batch", type=Path, required=True)
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
        options.firmware,
        options.server,
        _wifi(options.wifi_ssid),
        options.bootloader,
        options.ca,
        options.signing_key,
        options.version_id,
        options.config,
        options.flash_size,
    )


def _trust(order: Order) -> ssl.SSLContext | bool:
    """Whom the desk trusts for https: those whom the boards will trust."""
    pem = order.files.get(settings.CA_PATH)
    return ssl.create_default_context(cadata=pem.decode()) if pem else True


def _wifi(name: str) -> tuple[str, str] | None:
    # The password comes in the environment: arguments are in the list of processes, for everybody to read.
    password = os.environ.get(PASSWORD_VARIABLE)
    if not name:
        return None
    if password is None:
        raise UsageError(f"{PASSWORD_VARIABLE} is missing ({PASSWORD_VARIABLE}= for an open network)")
    return name, password


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
        if not Path(text).is_file():
            raise argparse.ArgumentTypeError(f"{text!r}: no such file ({variable}=…)")
        return Path(text)

    return convert


def _output(text: str) -> Path:
    if not text or Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is no file name like build/first.bin (OUT=…)")
    return Path(text)


def _folder(text: str) -> Path:
    if not text or Path(text).is_file():
        raise argparse.ArgumentTypeError(f"{text!r} is no folder name like build/batch (OUT=…)")
    return Path(text)


def _port(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("no port is given: PORT=/dev/ttyUSB0")
    return text


def _failed(problem: object, status: int) -> int:
    print("factory: " + " ".join(str(problem).split()), file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
