"""A mistake is made where it is said to be, or nobody believes that the proof has met it."""

import ast

import pytest

from tools.proof.mutants.change import ChangeError, Mutant, always, both, remove, replace, replace_statement, swap
from tools.proof.mutants.mistakes import MUTANTS
from tools.twin.paths import ROOT

SOURCE = """
def keep(value): return value

class Slot:
    def arm(self, slot, tries=0):
        if tries >= 3: return None
        keep(slot)
        if slot.failed(tries) and tries:
            keep(tries)
        else:
            slot.free(1, now=True)
        return slot
"""


def made(change, place="slot.py:Slot.arm") -> str:
    return Mutant("a mistake", place, change).make(SOURCE)


def same(change, *edits: tuple[str, str]) -> bool:
    expected = SOURCE
    for old, new in edits:
        assert expected.count(old) == 1
        expected = expected.replace(old, new)
    return made(change) == ast.unparse(ast.parse(expected)) + "\n"


def test_change_is_made_in_its_place_alone():
    assert same(replace("tries >= 3", "tries > 3"), ("tries >= 3", "tries > 3"))
    assert same(replace("slot.free(...)", "slot"), ("slot.free(1, now=True)", "slot"))
    assert same(always(False, "slot.failed(...) and tries"), ("slot.failed(tries) and tries", "False"))
    assert same(remove("keep(slot)"), ("keep(slot)\n", "pass\n"))
    assert same(remove("if tries >= 3: ..."), ("if tries >= 3: return None", "pass"))
    assert same(
        remove("if ...: keep(tries)"), (SOURCE[SOURCE.index("if slot.f") : SOURCE.index("        return s")], "pass\n")
    )
    swapped = made(swap("keep(slot)", "return slot"))
    assert swapped.index("return slot\n") < swapped.index("if slot.failed") < swapped.index("keep(slot)\n")
    assert same(replace_statement("keep(slot)", "...", "slot.boot()"), ("keep(slot)\n", "keep(slot); slot.boot()\n"))
    twice = both(replace("tries >= 3", "tries > 3"), remove("keep(tries)"))
    assert same(twice, ("tries >= 3", "tries > 3"), ("keep(tries)", "pass"))


@pytest.mark.parametrize(
    "change, place, why",
    [
        (replace("tries >= 4", "0"), "slot.py:Slot.arm", "stands 0 times"),
        (remove("keep(...)"), "slot.py:Slot.arm", "stands 2 times"),
        (both(remove("keep(slot)"), remove("nobody()")), "slot.py:Slot.arm", "stands 0 times"),
        (remove("keep(slot)"), "slot.py:Slot.disarm", "there is no slot.py:Slot.disarm"),
        (swap("return slot", "keep(slot)"), "slot.py:Slot.arm", "stands 0 times"),
    ],
)
def test_mistake_whose_place_is_not_there_exactly_once_is_an_error(change, place, why):
    with pytest.raises(ChangeError, match=why):
        made(change, place)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.mistake)
def test_mistake_of_the_list_can_still_be_made(mutant):
    source = (ROOT / mutant.file).read_text()
    changed = mutant.make(source)
    compile(changed, mutant.file, "exec")
    assert changed != ast.unparse(ast.parse(source)) + "\n"
