"""Names that cost a board nothing: the compiled agent is given names that MicroPython has in ROM.

A board keeps every name it meets (functions, methods, attributes, arguments) in its heap for good, and every .mpy file
carries the names it uses. So what only the agent calls by name is renamed, all over its modules alike, as bundlers for
the web do. What MicroPython knows itself, keywords, strings and the names of modules stay as they are.
"""

import ast
import builtins
import keyword
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

# Names that boards and the unix VM have in ROM; first those for which a .mpy file holds a number only, then short ones.
# Without those in which the compiler sees more than a name: super, range, const.
_ROM = Path(__file__).with_suffix(".txt")

_LOCAL = ("name", "arg", "id", "asname")  # where a syntax tree has the name of a variable
_NAMES = (*_LOCAL, "attr")


def rename(sources: dict[str, bytes], rom: bytes, keep: Iterable[str]) -> dict[str, bytes]:
    """The modules `sources` with what is theirs alone renamed. `rom` is a MicroPython image: a name that stands in it
    may belong to what the agent calls, and stays. So do those in `keep`."""
    trees = {name: ast.parse(source) for name, source in sources.items()}
    used, defined, by_name, by_dict = Counter(), set(), set(), set()
    fixed = {*keep, *keyword.kwlist}
    for path, tree in trees.items():
        fixed.update(path.removesuffix(".py").strip("/").split("/"))
        _strip(tree)
        for node in ast.walk(tree):
            _note(node, used, defined, fixed)
            if isinstance(node, ast.Call):
                by_name.update(each.arg for each in node.keywords)
                if any(each.arg is None for each in node.keywords):
                    by_dict.update(_names_of(node.func))
            if isinstance(node, ast.Module | ast.ClassDef):
                defined.update(_members(node))
    builtin = dir(builtins)
    ours = [name for name in defined - fixed if name not in builtin and name.encode() + b"\0" not in rom]
    ours.sort(key=lambda name: (-used[name], name))
    free = [name for name in _ROM.read_text().split() if name not in fixed]
    new_names = dict(zip(ours, (name for name in free if name not in used), strict=False))
    renamer = _Renamer(new_names)
    arguments = _Arguments(free, by_name, {new_names.get(name, name) for name in by_dict})
    return {name: ast.unparse(arguments.visit(renamer.visit(tree))).encode() for name, tree in trees.items()}


def _strip(tree: ast.Module) -> None:
    """Take out what a board does not keep: annotations."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.FunctionDef):
            node.returns = None
        for field, value in ast.iter_fields(node):
            if field in ("body", "orelse", "finalbody") and isinstance(value, list) and value:
                value[:] = [_without_annotation(each) for each in value if _is_kept(each)] or [ast.Pass()]


def _is_kept(node: ast.stmt) -> bool:
    return not isinstance(node, ast.AnnAssign) or node.value is not None


def _without_annotation(node: ast.stmt) -> ast.stmt:
    if isinstance(node, ast.AnnAssign):
        return ast.copy_location(ast.Assign([node.target], node.value, lineno=node.lineno), node)
    return node


def _note(node: ast.AST, used: Counter, defined: set[str], fixed: set[str]) -> None:
    """Count the names in one node, and tell those that are defined by it from those that must stay."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        used[node.name] += 1
        defined.add(node.name)
    elif isinstance(node, ast.arg):
        used[node.arg] += 1
    elif isinstance(node, ast.Name):
        used[node.id] += 1
    elif isinstance(node, ast.Attribute):
        used[node.attr] += 1
        if isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name) and node.value.id == "self":
            defined.add(node.attr)
    elif isinstance(node, ast.keyword):
        fixed.add(node.arg or "")
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        fixed.add(node.value)
    elif isinstance(node, ast.Assign) and _is_const(node.value):
        # The compiler puts the number wherever the name stands, whatever it is there.
        fixed.update(target.id for target in node.targets if isinstance(target, ast.Name))
    elif isinstance(node, ast.Import | ast.ImportFrom):
        used.update(name for alias in node.names for name in _names_of(alias))
        if isinstance(node, ast.Import) or (node.level == 0 and not (node.module or "").startswith("gadgetkeeper")):
            fixed.update(alias.name for alias in node.names)  # of somebody else


def _names_of(node: ast.AST) -> Iterable[str]:
    yield from (text for field in _NAMES if isinstance(text := getattr(node, field, None), str))


def _is_const(value: ast.expr) -> bool:
    return isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "const"


def _members(node: ast.Module | ast.ClassDef) -> Iterable[str]:
    """What a module or class is assigned as member. Local variables have no names on a board."""
    for statement in node.body:
        if isinstance(statement, ast.Assign):
            yield from (target.id for target in statement.targets if isinstance(target, ast.Name))


class _Renamer(ast.NodeTransformer):
    def __init__(self, names: dict[str, str], fields: tuple[str, ...] = _NAMES) -> None:
        self._names = names
        self._fields = fields

    def generic_visit(self, node: ast.AST) -> ast.AST:
        for field in self._fields:
            value = getattr(node, field, None)
            if isinstance(value, str) and not isinstance(node, ast.keyword):
                setattr(node, field, self._names.get(value, value))
        if isinstance(node, ast.Global | ast.Nonlocal):
            node.names = [self._names.get(name, name) for name in node.names]
        return super().generic_visit(node)


class _Arguments(ast.NodeTransformer):
    """Renames the arguments of functions, unless some call passes one `by_name`, or a dict of them to a function of the
    name (`by_dict`). They are nobody's but the function's: so all functions can have the same names, the first ones of
    `free` that the function does not use itself."""

    def __init__(self, free: list[str], by_name: set[str | None], by_dict: set[str]) -> None:
        self._free = free
        self._by_name = by_name
        self._by_dict = by_dict

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        inside = {name for each in ast.walk(node) for name in _names_of(each)}
        kept = {"self", *self._by_name}
        ours = [each.arg for each in node.args.args if each.arg not in kept and node.name not in self._by_dict]
        renamer = _Renamer(dict(zip(ours, (name for name in self._free if name not in inside), strict=False)), _LOCAL)
        for each in (*node.args.args, *node.body):
            renamer.visit(each)
        self.generic_visit(node)
        return node
