"""The agent's transport under test, as a process on CPython or on the MicroPython VM."""

import json
import re
import selectors
import shutil
import subprocess
import sys
from pathlib import Path

from tools.twin.paths import CHIP, DEVICE, ROOT, VM

DRIVER = Path(__file__).with_name("driver.py")
HEAP = "48wK"
"""Python heap of the VM: nothing that a server sends may need more."""

HANG_S = 120
"""Longer than any of a device's waits but the one for a whole body."""

HASTE = {
    "net/response.py": {"_ANSWER_MS": 700, "_STALL_MS": 300, "_WINDOW_MS": 700, "_TOTAL_MS": 1500},
    "net/connection.py": {"_CONNECT_TIMEOUT_S": 1, "_SEND_MS": 1000},
}
"""Waits for moments only; the device's own are of the same kind, but longer."""

WAITS = {"own": {}, "hasty": HASTE, "short window": {"net/response.py": {"_WINDOW_MS": 1500}}}


def hasty_device(folder: Path, haste: dict = HASTE) -> Path:
    """A copy of the device's files whose waits are short."""
    device = folder / "device"
    shutil.copytree(DEVICE, device, ignore=shutil.ignore_patterns("__pycache__"))
    for name, constants in haste.items():
        path = device / name
        source = path.read_text()
        for constant, value in constants.items():
            source, count = re.subn(rf"^{constant} = const\(\d+\)", f"{constant} = const({value})", source, flags=re.M)
            assert count == 1, f"{name} has no {constant}"
        path.write_text(source)
    return device


class Driver:
    """Makes calls in processes of their own. `runtime` is "cpython" or "vm".

    A call waits as long as a device does, so that no verdict depends on how busy this machine is. Its `waits` are
    "hasty" for servers on which every device gives up in the end."""

    def __init__(self, runtime: str, folder: Path) -> None:
        self.runtime = runtime
        self._folder = folder
        self._processes: dict[str, _Process] = {}

    def call(self, url: str, waits: str = "own", **order) -> dict:
        """Make one call; what came out of it."""
        if waits not in self._processes:
            haste = WAITS[waits]
            device = hasty_device(self._folder / waits, haste) if haste else DEVICE
            self._processes[waits] = _Process(self.runtime, device)
        return self._processes[waits].call(url, {"root": f"{self._folder}/", **order})

    def close(self) -> None:
        """End the processes."""
        for process in self._processes.values():
            process.close()


class _Process:
    def __init__(self, runtime: str, device: Path) -> None:
        program = [sys.executable] if runtime == "cpython" else [VM, "-X", f"heapsize={HEAP}"]
        arguments = [DRIVER, ROOT, CHIP, device]
        self._process = subprocess.Popen(
            [*program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",  # MicroPython passes on a lone surrogate as it came
        )

    def call(self, url: str, order: dict) -> dict:
        self._process.stdin.write(json.dumps({"url": url, **order}) + "\n")
        self._process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(HANG_S):
                self._process.kill()
                raise AssertionError(f"hangs in {order}")
        line = self._process.stdout.readline()
        assert line.startswith("{"), line
        return json.loads(line)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
