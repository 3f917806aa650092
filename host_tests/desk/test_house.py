"""The house's rules, by its imports: who may know whom. Without them a change in one room breaks another unseen."""

import ast
from pathlib import Path

from tools.twin.paths import ROOT

DEVICE = ROOT / "device"
ROOMS = ("agent.loop", "main", "thermometer", "urequests", "setup", "gadgetkeeper", "ota", "net", "board", "agent")
"""An import within device/ may go down this list, or stay in its room; never up. What is in no room, all may import.
`agent.loop`, which is started at power-on and runs the scenario and the product by their names, stands above both;
`urequests` is for products, and above the agent, which must not pay for it."""


def files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imports(path: Path, calls: tuple[str, ...] = ("run", "__import__", "Next")) -> set[str]:
    """All modules that a file names in imports, wherever they stand, and in calls like `run("module", ...)`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = ".".join(path.relative_to(ROOT).parts[: -node.level]) if node.level else ""
            module = ".".join(filter(None, (package, node.module)))
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in calls:
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                found.add(first.value)
    return found


def room(module: str) -> str | None:
    """The device's room that a module, named as on the board, belongs to."""
    return next((name for name in ROOMS if f"{module}.".startswith(f"{name}.")), None)


def test_tools_never_import_tests():
    for path in files("tools"):
        assert not [name for name in imports(path) if name.partition(".")[0] == "host_tests"], path


def test_device_knows_nothing_of_the_desk():
    for path in [*files("device"), ROOT / "boot.py"]:
        assert not [name for name in imports(path) if name.partition(".")[0] in ("tools", "host_tests")], path


def test_what_a_board_has_goes_by_its_bare_name():
    """Imported under a second name it would be a second module, with a chip of its own."""
    for path in files("tools", "host_tests"):
        assert not [name for name in imports(path) if name.startswith("tools.twin.chip")], path


def test_top_level_of_the_device_is_scenario_product_and_what_products_import():
    """What a release has there comes before MicroPython's own modules of the same name."""
    assert [path.name for path in sorted(DEVICE.glob("*.py"))] == ["main.py", "thermometer.py", "urequests.py"]
    assert "urequests" not in imports(DEVICE / "main.py")


def test_import_on_the_device_never_goes_up():
    up = []
    for path in files("device"):
        own = room(".".join(path.relative_to(DEVICE).with_suffix("").parts))
        for name in imports(path):
            theirs = room(name)
            if theirs is not None and (own is None or ROOMS.index(theirs) < ROOMS.index(own)):
                up.append(f"{path.relative_to(DEVICE)} imports {name}")
    assert not up


def test_no_circle_within_a_room_of_the_device():
    """But for `Next`, which may lead back to an earlier phase: its own is gone by then."""
    graph = {}
    for path in files("device"):
        parts = path.relative_to(DEVICE).with_suffix("").parts
        graph[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = imports(path, ("run", "__import__"))
    open_, done = [], set()

    def visit(name: str) -> None:
        assert name not in open_, " -> ".join([*open_[open_.index(name) :], name])
        if name in done:
            return
        open_.append(name)
        for other in sorted(graph[name] & graph.keys()):
            # A package that its own module imports is loaded already; importing a part of itself is how it is made.
            if other != name and not name.startswith(f"{other}."):
                visit(other)
        done.add(open_.pop())

    for name in sorted(graph):
        visit(name)
