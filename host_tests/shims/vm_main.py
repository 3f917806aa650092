"""Power-on of the virtual chip on the MicroPython VM: what it needs to know is in TWIN_POWER.

Does what the ESP32 port does: mounts the file system, runs boot.py, then main.py. The host's files are out of sight.
With a "repl" in the world ("friendly" or "raw"), Ctrl-C ends both, and main.py is left out for "raw", as on the chip.
"""

import json
import os
import sys
import time

import chip
import cut
import ds18x20
import esp32
import flash
import machine
import network
import ntptime
import onewire
import requests
import vfs

_power = json.loads(os.getenv("TWIN_POWER"))
_world = _power["world"]
_file = open(_power["flash"], "r+b")
if _world.get("cut"):
    _flash = cut.CutFlash(_file, _world["cut"], lambda: chip.reset("power cut"))
else:
    _flash = flash.Flash(_file)
chip.power_on(_flash, _world, _power["running"], open(_power["control"], "wb"))
for _module in (chip, ds18x20, esp32, machine, network, ntptime, onewire):
    sys.modules[_module.__name__] = _module
sys.modules["urequests"] = requests  # the frozen `requests` is what a board has under both names

_repl = _world.get("repl")
_names = {"__name__": "__main__"}  # boot.py and main.py share their globals, as on the chip
vfs.umount("/")
vfs.mount(vfs.VfsLfs2(esp32.Partition("vfs")), "/")
sys.path[:] = ["", ".frozen", "/lib"]
sys.argv[:] = []


def _run(name):
    try:
        execfile(name, _names)  # noqa: F821
    except SystemExit:
        chip.reset("soft reset")
    except (Exception, KeyboardInterrupt) as error:
        if not (isinstance(error, OSError) and error.args[0] == 2 and name == "boot.py"):
            sys.print_exception(error)


_behaviour = chip.world.get("behaviour")
if _behaviour == "crash":
    chip.reset("panic: the firmware crashed")
if _behaviour == "offline":
    chip.world["wifi"] = {}
if _repl:
    chip.tell("ready")
_run("boot.py")
while _behaviour == "hang":
    time.sleep(1)
if not _repl or (_repl == "friendly" and "main.py" in os.listdir("/")):
    _run("main.py")
chip.tell("ended")
