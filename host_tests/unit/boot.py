"""boot.py in the tests' own process, on either runtime: its files in a folder, its chip the virtual one."""

import gc
import sys

import agent

SOURCE = agent.__file__.rpartition("/agent/")[0] + "/../boot.py"


class Mounts:
    """`vfs`, as far as boot.py needs it: `mounted` is what was mounted where."""

    def __init__(self):
        self.mounted = {}

    def mount(self, file_system, folder):
        file_system.mount(True, False)
        self.mounted[folder] = file_system


def start(root):
    """Run boot.py with its files below `root`; give its global names, `mounted` among them. hardware.PowerLoss when it
    resets the chip."""
    mounts = Mounts()
    kept = sys.modules.get("vfs"), sys.path[:]
    sys.modules["vfs"] = mounts  # type: ignore[assignment]
    if not hasattr(gc, "threshold"):
        gc.threshold = lambda size_bytes: None  # type: ignore[attr-defined]

    def open_below(path, mode):
        return open(root + path[1:], mode)

    names = {"__name__": "__main__", "open": open_below, "mounted": mounts.mounted}
    try:
        with open(SOURCE) as file:
            exec(file.read(), names)
    finally:
        del sys.modules["vfs"]
        if kept[0]:
            sys.modules["vfs"] = kept[0]
        sys.path[:] = kept[1]
    return names
