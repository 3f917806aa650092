"""The compiled agent is the same program under shorter names."""

import pytest

from tools import names

SOURCE = b"""
from micropython import const

_HIDDEN = const(3)

def grown(amount, add=1):
    return amount + add

def seen(records, order):
    def first(records):
        return records[0]
    return [str(record) for record in records], first(records), abs(order), {"order": order}

def by_name(value, *, marks, **more):
    return seen([value], marks)[2], more

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
    return names.rename({"/box.py": SOURCE}, b"\0put\0show\0content\0", ["grown", "seen", "by_name", "Box"])["/box.py"]


@pytest.fixture
def module(renamed):
    found = {"__name__": "box"}
    exec(renamed.decode().replace("from micropython import const", "const = int"), found)
    return found


def test_program_does_the_same_under_its_new_names(module):
    assert module["grown"](2) == 3
    assert module["seen"]([7, 8], -2) == (["7", "8"], 7, 2, {"order": -2})
    assert module["by_name"](1, marks=-4, other=5) == (4, {"other": 5})
    box = module["Box"]()
    assert box.put(4) == 7 and box.show("#")() == "#4"


def test_argument_that_is_passed_by_name_keeps_it(renamed):
    assert b"add=1" in renamed and b"marks" in renamed


def test_other_arguments_cost_no_text(renamed):
    for name in (b"amount", b"records", b"prefix", b"note"):
        assert name not in renamed, renamed


def test_argument_gets_no_name_that_its_function_uses(renamed):
    assert b"abs(" in renamed and b", abs" not in renamed.split(b"def seen(", 1)[1].split(b":", 1)[0]


def test_no_name_is_one_that_the_compiler_takes_for_more():
    assert not {"super", "range", "const", "micropython"} & set(names._ROM.read_text().split())
