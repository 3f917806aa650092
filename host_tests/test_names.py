"""The compiled agent is the same program under shorter names."""

import ast
import symtable

import pytest

from tools import agent, firmware, names

SOURCE = b"""
from micropython import const

_HIDDEN = const(3)
LIMIT = const(9)

def grown(amount, add=1):
    return amount + add

def seen(records, order):
    def first(records):
        return records[0]
    return [str(record) for record in records], first(records), abs(order), {"order": order}

def by_name(value, *, marks, **more):
    return seen([value], marks)[2], more

def limited(value, unused):
    return value + LIMIT + helper()

def helper():
    import json as loads
    return loads.loads("1")

def by_dict(value):
    return value

def passed():
    return by_dict(**{"value": 5})

class Box:
    size = 1

    def put(self, content, note=None):
        self.content = content
        return grown(content, add=_HIDDEN)

    def show(self, prefix):
        return lambda: prefix + str(self.content)
"""


@pytest.fixture
def renamed():
    return names.rename(
        {"/box.py": SOURCE}, b"\0put\0show\0content\0", ["grown", "seen", "by_name", "limited", "passed", "Box"]
    )["/box.py"]


@pytest.fixture
def module(renamed):
    found = {"__name__": "box"}
    exec(renamed.decode().replace("from micropython import const", "const = int"), found)
    return found


def test_program_does_the_same_under_its_new_names(module):
    assert module["grown"](2) == 3
    assert module["seen"]([7, 8], -2) == (["7", "8"], 7, 2, {"order": -2})
    assert module["by_name"](1, marks=-4, other=5) == (4, {"other": 5})
    assert module["limited"](1, None) == 11 and module["passed"]() == 5
    box = module["Box"]()
    assert box.put(4) == 7 and box.show("#")() == "#4"


def test_argument_that_is_passed_by_name_keeps_it(renamed):
    assert b"add=1" in renamed and b"marks" in renamed


def test_other_arguments_cost_no_text(renamed):
    for name in (b"amount", b"records", b"prefix", b"note"):
        assert name not in renamed, renamed


def test_argument_gets_no_name_that_its_function_uses(renamed):
    functions = {node.name: node for node in ast.walk(ast.parse(renamed)) if isinstance(node, ast.FunctionDef)}
    arguments = [each.arg for each in functions["seen"].args.args]
    assert len(arguments) == 2 and "abs" not in arguments, arguments  # though that is the first one free


def test_argument_gets_no_name_of_a_constant(renamed):
    # MicroPython's parser puts the number wherever the name stands.
    assert b"LIMIT = const(9)" in renamed


def test_agent_has_the_same_scopes_as_before():
    sources = {path: text for path, text in agent.source_files().items() if path.endswith(".py") and path != "/boot.py"}
    renamed = names.rename(sources, firmware.app_image("1.27.0"), ["live", "watchdog"])
    for path, source in sources.items():
        assert _scopes(source, path) == _scopes(renamed[path], path), path


def _scopes(source: bytes, path: str) -> list:
    """For each scope, how many names of which kind it has: one that slipped into another scope changes that."""

    tree = ast.parse(source)
    names._strip(tree)

    def shape(table: symtable.SymbolTable) -> list:
        kinds = ("is_parameter", "is_local", "is_free", "is_global", "is_imported")
        counts = [sum(getattr(symbol, kind)() for symbol in table.get_symbols()) for kind in kinds]
        return [table.get_type(), *counts, [shape(child) for child in table.get_children()]]

    return shape(symtable.symtable(ast.unparse(tree), path, "exec"))


def test_no_name_is_one_that_the_compiler_takes_for_more():
    assert not {"super", "range", "const", "micropython"} & set(names._ROM.read_text().split())
