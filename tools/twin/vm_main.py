"""Power-on of the virtual chip on the MicroPython VM: what it needs to know is in TWIN_POWER.

Does what the ESP32 port does: mounts the file system, runs boot.py, then, unless that has raised, main.py. The host's
files are out of sight.
With a "repl" in the world ("friendly" or "raw"), Ctrl-C ends both, and main.py is left out for "raw", as on the chip.
"""

import json
import os
import sys
import time

_TWIN = __file__.rpartition("/")[0]
sys.path[0:1] = [_TWIN + "/chip", _TWIN + "/../.."]

import ds18x20  # noqa: E402
import esp32  # noqa: E402
import machine  # noqa: E402
import micropython  # noqa: E402
import network  # noqa: E402
import ntptime  # noqa: E402
import onewire  # noqa: E402
import vfs  # noqa: E402

from tools.twin import cut_flash, flash, hardware, ports  # noqa: E402

_power = json.loads(os.getenv("TWIN_POWER"))
_world = _power["world"]
_file = open(_power["flash"], "r+b")
if _world.get("cut"):
    _flash = cut_flash.CutFlash(_file, _world["cut"], lambda: hardware.reset("power cut"))
else:
    _flash = flash.Flash(_file)
hardware.power_on(_flash, _world, _power["running"], open(_power["control"], "wb"))
for _module in (ds18x20, esp32, machine, network, ntptime, onewire):
    sys.modules[_module.__name__] = _module
ports.install()


class _Micropython:
    """The VM's own `micropython`, but Ctrl-C comes from the board's UART."""

    @staticmethod
    def kbd_intr(char):
        hardware.tell(f"interrupt {char}")


for _name in dir(micropython):
    if not hasattr(_Micropython, _name):
        setattr(_Micropython, _name, staticmethod(getattr(micropython, _name)))
sys.modules["micropython"] = _Micropython
_repl = _world.get("repl")
_names = {"__name__": "__main__"}  # boot.py and main.py share their globals, as on the chip
vfs.umount("/")
vfs.mount(vfs.VfsLfs2(esp32.Partition("vfs")), "/")
sys.path[:] = ["", ".frozen", "/lib"]
sys.argv[:] = []


def _run(name):
    """Run the file; False when it raises."""
    if name not in os.listdir("/"):
        return True
    try:
        execfile(name, _names)  # noqa: F821
    except SystemExit:
        hardware.reset("soft reset")
    except (Exception, KeyboardInterrupt) as error:
        sys.print_exception(error)
        hardware.tell("interrupt 3")  # as the REPL has it
        return False
    return True


_behaviour = hardware.world.get("behaviour")
if _behaviour == "crash":
    hardware.reset("panic: the firmware crashed")
if _behaviour == "offline":
    hardware.world["wifi"] = {}
if _repl:
    hardware.tell("ready")
_goes_on = _run("boot.py")
while _behaviour == "hang":
    time.sleep(1)
if _goes_on and _repl != "raw":
    _run("main.py")
hardware.tell("ended")
