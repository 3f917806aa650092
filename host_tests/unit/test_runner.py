"""Phases and memory: what a phase has imported is gone after it, however it ends; what was there before it stays."""

import os
import sys

from agent import runner
from agent.runner import run

from tools.proof import scratch

MODULES = {
    "package/__init__.py": "",
    "package/first.py": "from . import helper\ndef work(*values): return helper.double(*values)\n",
    "package/helper.py": "def double(value): return value * 2\n",
    "package/failing.py": "import package.helper\ndef work(): raise ValueError('x')\n",
    "package/broken.py": "import package.helper\nraise ImportError('x')\n",
    "package/outer.py": "from agent.runner import run\nimport package.helper\n"
    "def work(seen):\n"
    "    run('package.first', 'work', 1)\n"
    "    seen('package.helper', 'package.first')\n"
    "    return package.helper.double(4)\n",
    "package/chain.py": "from agent.runner import Next\nimport package.helper\n"
    "def work(seen): return Next('package.last', 'work', seen, 3)\n",
    "package/last.py": "def work(seen, value):\n    seen('package.chain', 'package.helper')\n    return value\n",
}


def phases(function):
    """Call with the modules above importable; all there were before must be there afterwards."""
    root = scratch.folder()
    os.mkdir(root + "package")
    for name, source in MODULES.items():
        with open(root + name, "w") as file:
            file.write(source)
    sys.path.insert(0, root[:-1])
    before = set(sys.modules)
    kept = len(runner._kept)
    try:
        function()
        assert set(sys.modules) == before, set(sys.modules) ^ before
    finally:
        del runner._kept[kept:]
        sys.path.remove(root[:-1])
        for name in [name for name in sys.modules if name.startswith("package")]:
            del sys.modules[name]


def test_what_a_phase_has_imported_is_gone_after_it():
    def check():
        assert run("package.first", "work", 21) == 42
        assert not [name for name in sys.modules if name.startswith("package")]

    phases(check)


def test_what_a_phase_has_imported_is_gone_after_an_error_as_well():
    def check():
        for module, kind in (("package.failing", ValueError), ("package.broken", ImportError)):
            try:
                run(module, "work")
            except kind:
                assert not [name for name in sys.modules if name.startswith("package")], module
                continue
            raise AssertionError(module)

    phases(check)


def test_phase_within_a_phase_takes_only_its_own_modules_along():
    def seen(stays, goes):
        assert stays in sys.modules and goes not in sys.modules
        assert not hasattr(sys.modules["package"], "first"), "the package still holds it"
        assert hasattr(sys.modules["package"], "helper")

    phases(lambda: run("package.outer", "work", seen))


def test_next_phase_finds_the_one_before_it_gone():
    found = []

    def seen(*gone):
        found.extend([name for name in gone if name in sys.modules])

    def check():
        assert run("package.chain", "work", seen) == 3
        assert found == []

    phases(check)


def test_module_that_was_loaded_before_stays_the_same():
    def check():
        helper = __import__("package.helper", None, None, ("double",))
        run("package.first", "work", 1)
        assert sys.modules["package.helper"] is helper
        assert sys.modules["package"].helper is helper
        for name in ("package.helper", "package"):
            del sys.modules[name]

    phases(check)


def test_error_that_one_phase_raises_is_of_a_class_that_another_one_knows():
    """The errors' module has to come with the loop, whoever else imports it."""
    package = sys.modules["agent"]
    kept = {name: sys.modules.pop(name) for name in ("agent.loop", "agent.errors") if name in sys.modules}
    for name in kept:
        delattr(package, name[len("agent.") :])
    try:
        __import__("agent.loop")
        assert "agent.errors" in sys.modules
    finally:
        for name in ("agent.loop", "agent.errors"):
            sys.modules.pop(name, None)
        for name, module in kept.items():
            sys.modules[name] = module
            setattr(package, name[len("agent.") :], module)
