"""Runs the agent's logic tests (host_tests/logic) on CPython and on the real MicroPython VM."""

import ast
import importlib
import subprocess

import pytest
import scratch

from host_tests.conftest import DEVICE, LOGIC, SHIMS
from tools.twin.device import VM


def _cases() -> list:
    cases = []
    for path in sorted(LOGIC.glob("*.py")):
        names = [node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
        cases += [(path.stem, name) for name in names if name.startswith("test_")]
    return cases


CASES = _cases()
IDS = [f"{module}-{name}" for module, name in CASES]


@pytest.mark.parametrize("module, name", CASES, ids=IDS)
def test_cpython(module, name, tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "base", f"{tmp_path}/")
    getattr(importlib.import_module(module), name)()


@pytest.mark.vm
@pytest.mark.parametrize("module, name", CASES, ids=IDS)
def test_vm(module, name, tmp_path):
    # The faked flash chip lies in memory: what the agent itself needs is for the end-to-end runs to tell.
    command = [VM, LOGIC / "run.py", LOGIC, SHIMS, DEVICE, f"{tmp_path}/", module, name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
