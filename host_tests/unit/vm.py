"""The MicroPython VM as a process that runs one function of a module which both runtimes can import."""

import subprocess
from pathlib import Path

from tools.twin.paths import CHIP, DEVICE, ROOT, VM

_RUN = Path(__file__).with_name("run_on_vm.py")


def run(folder: Path, module: str, function: str, timeout_s: int = 600) -> subprocess.CompletedProcess:
    """Call `function` of `module` (dotted, from the project's root) on the VM, with `folder` for its files."""
    command = [VM, _RUN, ROOT, CHIP, DEVICE, f"{folder}/", module, function]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
