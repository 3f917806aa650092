"""Runs the tests of this folder on CPython and, unchanged, on the real MicroPython VM.

A file that imports pytest or hypothesis is for CPython alone.
"""

import ast
from pathlib import Path

import pytest

from host_tests.unit import vm
from tools.proof import scratch

_CPYTHON_ONLY = {"pytest", "hypothesis"}


@pytest.fixture(autouse=True)
def _folders(tmp_path, monkeypatch):
    """Files of a test lie in a folder of its own."""
    monkeypatch.setattr(scratch, "base", f"{tmp_path}/")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> "_File | None":
    """Collect each test a second time, for the VM."""
    return _File.from_parent(parent, path=file_path) if file_path.match("test_*.py") else None


class _File(pytest.File):
    def collect(self):
        tree = ast.parse(self.path.read_text())
        imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        if imported & _CPYTHON_ONLY:
            return
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield _OnVm.from_parent(self, name=f"{node.name}[vm]", function=node.name)


class _OnVm(pytest.Item):
    def __init__(self, *, function: str, **more) -> None:
        super().__init__(**more)
        self._function = function
        self.add_marker("vm")

    def runtest(self) -> None:
        # The faked flash chip lies in memory: what the agent itself needs is for the end-to-end runs to tell.
        folder = self.config._tmp_path_factory.mktemp(self._function[:30])
        done = vm.run(folder, f"host_tests.unit.{self.path.stem}", self._function, 60)
        if done.returncode:
            raise _FailedOnVm(done.stdout + done.stderr)

    def repr_failure(self, excinfo, style=None):
        return str(excinfo.value) if isinstance(excinfo.value, _FailedOnVm) else super().repr_failure(excinfo)

    def reportinfo(self):
        return self.path, None, self.name


class _FailedOnVm(Exception):
    """What the VM printed."""
