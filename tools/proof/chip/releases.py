"""Releases for the stories, each with a change of its own in its code."""

from collections.abc import Mapping

from tools import agent, release

MICROPYTHON = "1.27.0"

_PANIC = "import machine\nmachine.mem32[0] = 0\n"
_AGENT = "/agent/loop.py"  # what main.py imports first
_PRODUCT = "/thermometer.py"
_SAYS = ' C reported"'
_RUN = "def run(agent, duration_s: int) -> None:\n"

BROKEN: dict[str, dict[str, str | None]] = {
    "crashes": {_AGENT: "print('release 2 crashes')\n" + _PANIC},
    "hangs": {_AGENT: "print('release 2 hangs')\nwhile True:\n    pass\n"},
    "cannot be imported": {_AGENT: None},
}
"""What a broken release holds in place of the agent's first module; None: bytes that are no module."""


def working(app: bytes, number: int) -> bytes:
    """Return a release whose thermometer says its number with each report."""
    return _release(app, number, {_PRODUCT: replaced(source(_PRODUCT), _SAYS, f' C reported, by release {number}"')})


def broken(app: bytes, number: int, how: str) -> bytes:
    """Return a release that never proves itself: one of BROKEN."""
    return _release(app, number, BROKEN[how])


def crashing_later(app: bytes, number: int) -> bytes:
    """Return a release that passes its trial, and crashes when the product runs."""
    crash = _RUN + "    import machine\n    print('the product crashes')\n    machine.mem32[0] = 0\n"
    return _release(app, number, {_PRODUCT: replaced(source(_PRODUCT), _RUN, crash)})


def changed(app: bytes, number: int, sources: dict[str, str]) -> bytes:
    """Return a release with these sources in place of the agent's, by path."""
    return _release(app, number, sources)


def source(path: str) -> str:
    """Return the source of a module of the device, by path like "/agent/loop.py"."""
    return (agent.DEVICE / path.lstrip("/")).read_text(encoding="utf-8")


def replaced(text: str, old: str, new: str) -> str:
    """Return the text with `old` replaced, which must be in it once: the device's code may have moved on."""
    if text.count(old) != 1:
        raise ValueError(f"the device's code holds {old!r} {text.count(old)} times, not once: mend tools/proof/chip")
    return text.replace(old, new)


def _release(app: bytes, number: int, sources: Mapping[str, str | None]) -> bytes:
    contents = release.Contents(number)
    files = release.release_files(contents, MICROPYTHON)
    for path, text in sources.items():
        compiled = b"no module" if text is None else agent.compile_module(text.encode(), path[1:], MICROPYTHON)
        files[path.removesuffix(".py") + ".mpy"] = compiled
    return release.add_bundle(app, release.bundle(files), contents, MICROPYTHON)
