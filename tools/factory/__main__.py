"""`python -m tools.factory`: makes flash images and writes them to boards. `make` has a target for each command."""

import argparse
import os
import sys
from pathlib import Path
from typing import NoReturn

from tools.factory import settings, summary
from tools.factory.errors import FactoryError
from tools.factory.files import write_whole
from tools.factory.layout import FLASH_SIZES
from tools.factory.order import Order, make_order

PASSWORD_VARIABLE = "WIFI_PASSWORD"


class UsageError(Exception):
    """The command cannot be meant like this; the text says why."""


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
    return parser


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


def _failed(problem: object, status: int) -> int:
    print("factory: " + " ".join(str(problem).split()), file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
