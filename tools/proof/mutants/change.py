"""Mistakes by syntax tree: a function and a construct in it name the place, so that other edits do not break the list.

A pattern is a piece of Python. `...` in it stands for any expression, as a call's only argument for any arguments, as a
block's only line for any lines. So "keep(...)" is any call of `keep`, and "if a > b: ..." that statement with any body.
"""

import ast
import copy
from collections.abc import Callable
from dataclasses import dataclass


class ChangeError(Exception):
    """A mistake that cannot be made, because its place is not there exactly once; the text says why."""


Change = Callable[[ast.AST], int]
"""Changes the function it is given; how often its construct stood there."""


@dataclass(frozen=True)
class Mutant:
    """One mistake. `place` is "folder/file.py" or "folder/file.py:Class.function", from the project's root."""

    mistake: str
    place: str
    change: Change

    @property
    def file(self) -> str:
        """The file it is made in."""
        return self.place.partition(":")[0]

    def make(self, source: str) -> str:
        """The file's source with the mistake made. ChangeError when its place is not there exactly once."""
        tree = ast.parse(source)
        function = find(tree, self.place.partition(":")[2])
        if function is None:
            raise ChangeError(f"{self.mistake}: there is no {self.place}")
        count = self.change(function)
        if count != 1:
            raise ChangeError(f"{self.mistake}: its construct stands {count} times in {self.place}")
        return ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def replace(old: str, new: str) -> Change:
    """Put the expression `new` in the place of the expression `old`."""
    pattern, other = _expression(old), _expression(new)
    return lambda function: _Replace(pattern, other).count_in(function)


def remove(statement: str) -> Change:
    """Leave a statement out."""
    return replace_statement(statement, "pass")


def replace_statement(old: str, *new: str) -> Change:
    """Put statements in the place of one. A new one that is `"..."` is the old one."""
    pattern = _statement(old)

    def change(function: ast.AST) -> int:
        places = list(_places(function, pattern))
        for block, at in places:
            kept = block[at]
            block[at : at + 1] = [kept if text == "..." else _statement(text) for text in new]
        return len(places)

    return change


def swap(first: str, second: str) -> Change:
    """Exchange two statements of one block, `first` of which stands before `second`."""
    patterns = _statement(first), _statement(second)

    def change(function: ast.AST) -> int:
        ones, others = (list(_places(function, pattern)) for pattern in patterns)
        pairs = [(a, i, j) for a, i in ones for b, j in others if a is b and i < j]
        for block, i, j in pairs:
            block[i], block[j] = block[j], block[i]
        return len(pairs)

    return change


def both(one: Change, other: Change) -> Change:
    """Make two changes."""
    return lambda function: min(one(function), other(function))


def always(value: bool, condition: str) -> Change:
    """Have a condition be `value` always."""
    return replace(condition, str(value))


def find(tree: ast.AST, name: str) -> ast.AST | None:
    """The function or class of this qualified name in a module; the module itself for ""."""
    for part in filter(None, name.split(".")):
        kinds = ast.FunctionDef | ast.ClassDef
        found = [node for node in ast.iter_child_nodes(tree) if isinstance(node, kinds) and node.name == part]
        if len(found) != 1:
            return None
        tree = found[0]
    return tree


def matches(pattern: object, node: object) -> bool:
    """True when the node is what the pattern says."""
    if _is_any(pattern):
        return isinstance(node, ast.expr) or _is_any(node)
    if isinstance(pattern, ast.AST):
        return type(pattern) is type(node) and all(
            _match_field(pattern, name, getattr(node, name, None)) for name in pattern._fields if name not in _IGNORED
        )
    if isinstance(pattern, list):
        return (
            isinstance(node, list)
            and len(pattern) == len(node)
            and all(matches(one, other) for one, other in zip(pattern, node, strict=True))
        )
    return type(pattern) is type(node) and pattern == node


_IGNORED = ("ctx", "type_comment", "kind")


def _match_field(pattern: ast.AST, name: str, value: object) -> bool:
    wanted = getattr(pattern, name, None)
    if isinstance(pattern, ast.Call) and name in ("args", "keywords"):
        if len(pattern.args) == 1 and _is_any(pattern.args[0]) and not pattern.keywords:
            return True
    elif name in ("body", "orelse") and isinstance(wanted, list) and len(wanted) == 1:
        only = wanted[0]
        if isinstance(only, ast.Expr) and _is_any(only.value):
            return True
    if name == "orelse" and not wanted and isinstance(pattern, ast.If):
        return True  # a pattern that says nothing of it
    return matches(wanted, value)


def _is_any(node: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...


def _places(function: ast.AST, pattern: ast.stmt):
    """Every block and index in it at which a statement stands that the pattern fits."""
    for node in ast.walk(function):
        for _, block in ast.iter_fields(node):
            if isinstance(block, list):
                for at in reversed(range(len(block))):
                    if isinstance(block[at], ast.stmt) and matches(pattern, block[at]):
                        yield block, at


class _Replace(ast.NodeTransformer):
    def __init__(self, pattern: ast.expr, new: ast.expr) -> None:
        self._pattern, self._new = pattern, new
        self._count = 0

    def count_in(self, function: ast.AST) -> int:
        self.visit(function)
        return self._count

    def visit(self, node: ast.AST) -> ast.AST:
        if matches(self._pattern, node):
            self._count += 1
            return copy.deepcopy(self._new)
        return self.generic_visit(node)


def _expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _statement(text: str) -> ast.stmt:
    (found,) = ast.parse(text).body
    return found
