"""Power-on of the virtual chip on CPython: `cpython_main.py FLASH_FILE CONTROL_FD RUNNING_LABEL WORLD_JSON`.

For debugging, coverage, and machines without a wheel of the MicroPython VM. The file system is the same littlefs in the
same flash file; the agent's `open`, `os` and imports go to it.
"""

import json
import os
import sys
import time
import traceback

import chip
import cpython_files
import cpython_time
import esp32
import flash


def main():
    path, control_fd, running, world = sys.argv[1:]
    control = os.fdopen(int(control_fd), "wb", buffering=0)
    chip.power_on(flash.Flash(open(path, "r+b", buffering=0)), json.loads(world), running, control)
    cpython_time.install()
    files = cpython_files.mount(esp32.Partition("vfs"))

    behaviour = chip.world.get("behaviour")
    if behaviour == "crash":
        chip.reset("panic: the firmware crashed")
    if behaviour == "offline":
        chip.world["wifi"] = {}
    run(files, "/boot.py")
    while behaviour == "hang":
        time.sleep(1)
    run(files, "/main.py")
    chip.tell("ended")


def run(files, path):
    try:
        files.run(path)
    except SystemExit:
        chip.reset("soft reset")
    except Exception as error:
        if not (isinstance(error, OSError) and error.errno == 2 and path == "/boot.py"):
            traceback.print_exc(file=sys.stdout)


main()
