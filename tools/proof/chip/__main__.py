"""`python -m tools.proof.chip`: tell the stories on real MicroPython firmware in an emulated ESP32.

Every step prints a line with the seconds since its story began; the console of each story lies in build/chip. Exit
status 0: all passed; 1: one has failed; 2: wrong arguments, or no such emulator.
"""

import argparse
import shutil
import signal
import sys
import time
from pathlib import Path

from tools.firmware import ROOT, FirmwareError
from tools.proof.chip.bench import SHOWN_LINES, Bench, StoryFailed
from tools.proof.chip.emulator import NEEDED, Emulator, EmulatorError
from tools.proof.chip.stories import STORIES
from tools.server import ServingError, VendorError

FOLDER = ROOT / "build" / "chip"


def main(arguments: list[str] | None = None) -> int:
    """Tell the stories; return the exit status."""
    try:
        options = _parser().parse_args(arguments)
        if options.emulator is None:
            raise EmulatorError(NEEDED)
        emulator = Emulator(options.emulator, options.emulator_args)
        emulator.check()
    except (argparse.ArgumentTypeError, EmulatorError) as error:
        print(f"chip: {error}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # an emulator would outlive its harness
    try:
        results = {name: tell(name, emulator) for name in options.story or STORIES}
    except KeyboardInterrupt:
        print("chip: interrupted", file=sys.stderr)
        return 1
    failed = [name for name, passed in results.items() if not passed]
    print(f"{len(results)} stories, {len(results) - len(failed)} passed" + "".join(f"; FAIL {name}" for name in failed))
    return 1 if failed else 0


def tell(name: str, emulator: Emulator) -> bool:
    """Tell one story; return True when it has passed."""
    story = STORIES[name]
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    begun = time.monotonic()
    print(f"{name}: {(story.__doc__ or '').splitlines()[0]}", flush=True)
    heard: list[str] = []
    with (folder / "console.txt").open("w") as console:

        def log(text: str) -> None:
            heard.append(text)
            print(text, file=console, flush=True)

        try:
            story(Bench(emulator, folder, lambda text: print(text, flush=True), log))
            problem = None
        except (StoryFailed, EmulatorError, FirmwareError, ServingError, VendorError, ValueError, OSError) as error:
            problem = str(error)
    if problem:
        for text in heard[-SHOWN_LINES:]:
            print(f"         | {text}")
        print(f"         {problem}")
    seconds = f"({time.monotonic() - begun:.0f} s)"
    print(f"{'FAIL' if problem else 'PASS'} {name} {seconds}", flush=True)
    return problem is None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        self.exit(2, f"chip: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m tools.proof.chip", description=__doc__)
    parser.add_argument("--emulator", type=Path, help="a qemu-system-xtensa with the ESP32's radio")
    parser.add_argument("--emulator-args", default="", help="further arguments for it")
    parser.add_argument("--story", nargs="+", choices=STORIES, help="default: all")
    return parser


if __name__ == "__main__":
    sys.exit(main())
