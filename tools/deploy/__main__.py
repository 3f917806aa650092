"""`python -m tools.deploy`: deploy, status, console, package. 0: done, 1: it failed, 2: wrong arguments."""

import argparse
import contextlib
import sys

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from tools.agent import AgentFilesError
from tools.arguments import failed
from tools.firmware import FirmwareError

from . import mip, status
from .board import TOOLS, Board
from .console import console as connect
from .deploy import Done, deploy
from .port import BoardError, port_name

_NAMES_MAX = 6
_WAIT_S = 60  # a thermometer does not listen to its console while it waits for a server


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        self.exit(failed("deploy", message, 2))


def main(arguments: list[str] | None = None) -> int:
    options = _parse(arguments)
    try:
        return options.run(options)
    except (BoardError, AgentFilesError, FirmwareError) as error:
        return failed("deploy", error, 1)
    except KeyboardInterrupt:
        return failed("deploy", "interrupted; the board can be deployed to again", 1)


def _deploy(options: argparse.Namespace) -> int:
    """Put the agent onto the board."""
    with Board(options.port, options.tool, options.wait) as board:
        try:
            done = _with_progress(board, options)
        except BaseException:
            # As far as it is there, the thermometer goes on as before.
            with contextlib.suppress(BoardError):
                board.restart()
            raise
        _tell(done, options)
        if options.reset:
            board.reset()
            print(f"the board has been reset and starts the thermometer: make console PORT={options.port} shows it")
        else:
            print("the thermometer is not running: press the board's reset button, or Ctrl-D in make console")
    return 0


def _with_progress(board: Board, options: argparse.Namespace) -> Done:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("looking at the board", total=None)

        def show(path: str, count: int, total: int) -> None:
            progress.update(task, description=path, completed=count, total=total)

        return deploy(board, options.source, options.force, show)


def _tell(done: Done, options: argparse.Namespace) -> None:
    size_bytes = sum(map(len, done.files.values()))
    print(f"board: {done.machine}, MicroPython {done.micropython}")
    print(f"agent: {done.form}, {len(done.files)} files, {size_bytes} bytes")
    print("written: " + (_names(done.written) or "nothing, all files are as they should be"))
    if done.removed:
        print("removed: " + _names(done.removed))
    if done.kept:
        print("kept: " + ", ".join(done.kept))
    for warning in done.warnings:
        print(f"note: {warning}")
    for path, content in (("/serial.txt", "the serial number"), ("/config.json", "WiFi and server")):
        if path not in done.kept:
            command = f".venv/bin/mpremote connect {options.port} cp {path[1:]} :{path}"
            print(f"note: no {path} ({content}) on the board: {command}")


def _names(paths: list[str]) -> str:
    more = len(paths) - _NAMES_MAX
    return ", ".join(paths[:_NAMES_MAX]) + (f" and {more} more" if more > 0 else "")


def _status(options: argparse.Namespace) -> int:
    """Say how the board is."""
    with Board(options.port, wait_s=options.wait, soft_reset=False) as board:
        found = status.lines(board.ask("status"))
        board.restart()
    for what, how in found:
        print(f"{what:13}  {how}")
    print("(the thermometer was stopped for this and has been started again)")
    return 0


def _console(options: argparse.Namespace) -> int:
    """Show the board's console."""
    connect(options.port)
    return 0


def _package(options: argparse.Namespace) -> int:
    """Write package.json."""
    mip.PACKAGE.write_text(mip.package())
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = _Parser(prog="thermometer", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    for name, run in (("deploy", _deploy), ("status", _status), ("console", _console)):
        command = commands.add_parser(name, help=run.__doc__)
        command.set_defaults(run=run)
        command.add_argument(
            "--port", required=True, type=port_name, help="/dev/ttyUSB0, COM3, socket://host:port, auto ..."
        )
        if name != "console":
            command.add_argument(
                "--wait", type=_seconds, default=_WAIT_S, help="for the board's answer (default: %(default)s)"
            )
        if name == "deploy":
            command.add_argument("--tool", choices=TOOLS, default="mpremote")
            command.add_argument("--source", action="store_true", help="the agent as .py files")
            command.add_argument(
                "--force",
                action="store_true",
                help="onto a board without two OTA slots as well, and in place of the old agent where both do not fit",
            )
            command.add_argument("--no-reset", dest="reset", action="store_false", help="do not start the thermometer")
    commands.add_parser("package", help=_package.__doc__).set_defaults(run=_package)
    return parser.parse_args(arguments)


def _seconds(text: str) -> float:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
