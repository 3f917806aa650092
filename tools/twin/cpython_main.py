"""Power-on of the virtual chip on CPython: what it needs to know is in TWIN_POWER.

For debugging, coverage, and machines without a wheel of the MicroPython VM. The file system is the same littlefs in the
same flash file; the agent's `open`, `os` and imports go to it.
"""

import gc
import json
import os
import sys
import time
import traceback
from pathlib import Path

sys.path[0:1] = [str(Path(__file__).parent / "chip"), str(Path(__file__).parents[2])]

import esp32  # noqa: E402

from tools.twin import cpython_files, cpython_time, flash, hardware, ports  # noqa: E402


def main():
    power = json.loads(os.environ["TWIN_POWER"])
    control = os.fdopen(power["control"], "wb", buffering=0)
    memory = flash.Flash(open(power["flash"], "r+b", buffering=0))
    hardware.power_on(memory, power["world"], power["running"], control)
    cpython_time.install()
    ports.install()
    gc.threshold = lambda size_bytes: None  # type: ignore[attr-defined]
    files = cpython_files.mount(esp32.Partition("vfs"))
    gc.freeze()  # The agent collects after each of its phases: what the twin itself holds need not be looked at.

    behaviour = hardware.world.get("behaviour")
    if behaviour == "crash":
        hardware.reset("panic: the firmware crashed")
    if behaviour == "offline":
        hardware.world["wifi"] = {}
    names = {"__name__": "__main__"}  # boot.py and main.py share their globals, as on the chip
    goes_on = run(files, "/boot.py", names)
    while behaviour == "hang":
        time.sleep(1)
    if goes_on:
        run(files, "/main.py", names)
    hardware.tell("ended")


def run(files, path, names):
    """Run the file; False when it raises: MicroPython then leaves out what follows."""
    try:
        files.stat(path)
    except OSError:  # there is none
        return True
    try:
        files.run(path, names)
    except SystemExit:
        hardware.reset("soft reset")
    except Exception:
        traceback.print_exc(file=sys.stdout)
        return False
    return True


main()
