"""Puts the agent onto a board, in an order that an interruption cannot harm.

Every changed file goes beside its place first (*.part) and is read back; only when all are there they take their
places, in one go on the board. Until then the old agent is whole.
"""

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from tools import agent
from tools.release import MICROPYTHON_LEAST

from .board import Board
from .port import BoardError

OWN_FILES = ("/serial.txt", "/config.json", "/state.json", "/owner.json", "/ca.pem")
"""What makes the board this one; never touched."""

FOLDERS = (agent.RELEASE, "/gadgetkeeper")
"""The agent's own folders, now and in 0.1: what lies there and is not part of this agent is left over."""

_NO_SPACE = re.compile(r"OSError: (28|\[Errno 28\])")
_LAST = ("/boot.py", "/main.py")
_FORMER = ("/agent", "/board", "/life", "/thermometer", *(path.removesuffix(".py") for path in _LAST))
"""Modules of the agent 0.1 in the root, and what would win over the two that start it."""
_PART = ".part"
_CHUNK_BYTES = 1536  # base64 of it is 2 KiB


class RefusedError(BoardError):
    """The board can take the agent, but it would not work there; FORCE=1 does it all the same."""


@dataclass
class Done:
    """What a deployment has done: paths, and what the user should know."""

    form: str
    machine: str
    micropython: str
    files: dict[str, bytes]
    written: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def deploy(
    board: Board,
    as_source: bool = False,
    force: bool = False,
    progress: Callable[[str, int, int], object] = lambda path, done, total: None,
) -> Done:
    """Bring the board's agent to this checkout's state; `progress(path, bytes done, bytes in all)` is told meanwhile.

    RefusedError on a board that the agent could not live on or not update, unless `force`, which also removes the old
    agent first where there is no room for both."""
    facts = board.ask("facts", FOLDERS=FOLDERS)
    problem = _no_updates(facts) or _too_old(facts["micropython"])
    if problem and not force:
        raise RefusedError(f"{problem}; FORCE=1 deploys all the same")
    files, form, warnings = _files(facts["micropython"], as_source)
    done = Done(form, facts["machine"], facts["micropython"], files, warnings=warnings)
    done.warnings += [problem] if problem else []
    if facts["on_trial"]:
        done.warnings.append("a firmware was on trial on this board: the interruption counts as one failed attempt")
    done.kept = [path for path in OWN_FILES if path in facts["files"]]

    leftovers = [path for path in facts["files"] if path.endswith(_PART) and _is_ours(path.removesuffix(_PART), files)]
    if leftovers:
        board.ask("commit", MODULES=[], STALE=leftovers, LAST=[])
        facts = board.ask("facts", FOLDERS=FOLDERS)
    done.written = _changed(board, facts["files"], files)
    done.removed = sorted(path for path in facts["files"] if path not in files and _is_ours(path, files))
    new = {path: files[path] for path in done.written}
    if done.removed and force and not _fits(facts, new):
        board.ask("commit", MODULES=[], STALE=done.removed, LAST=[])
        facts = board.ask("facts", FOLDERS=FOLDERS)
    if not _fits(facts, new):
        raise BoardError(_full(facts["free_bytes"], new))
    try:
        _write(board, new, progress)
    except BoardError as error:
        if _NO_SPACE.search(str(error)):
            # The agent needs some of it for its record.
            found = board.ask("facts", FOLDERS=FOLDERS)["files"]
            board.ask("commit", MODULES=[], STALE=[path + _PART for path in new if path + _PART in found], LAST=[])
            raise BoardError(_full(facts["free_bytes"], new)) from None
        raise
    if done.written or done.removed:
        modules = [path for path in done.written if path not in _LAST]
        last = [path for path in _LAST if path in done.written]
        stale = [path for path in done.removed if path in facts["files"]]
        total = sum(map(len, new.values()))
        progress("putting them in place", total, total)
        board.ask("commit", MODULES=modules, STALE=stale, LAST=last)
    return done


def _no_updates(facts: dict) -> str | None:
    """Why the agent could not update the firmware of this board; None when it could."""
    if facts["slots"] is None:
        return f"this board is no ESP32 ({facts['machine']}): the agent needs esp32.Partition"
    if len(facts["slots"]) < 2:
        return (
            "this board's partition table has no two OTA slots, so that its firmware cannot be updated: "
            "`make factory` makes an image with two, `make flash` writes it (it erases the board)"
        )
    return None


def _too_old(micropython: str) -> str | None:
    """Why the agent cannot live on this MicroPython; None when it can."""
    if tuple(map(int, micropython.split(".")[:2])) >= MICROPYTHON_LEAST:
        return None
    least = ".".join(map(str, MICROPYTHON_LEAST))
    return (
        f"the board has MicroPython {micropython}, and the agent needs {least} or newer: `make factory` makes an image "
        "with one, `make flash` writes it (it erases the board)"
    )


def _files(micropython: str, as_source: bool) -> tuple[dict[str, bytes], str, list[str]]:
    """The agent's files for this MicroPython, how they are, and a warning if that is not how they should be."""
    if as_source:
        return agent.deployed_files(agent.source_files()), "as source", []
    try:
        files = agent.deployed_files(agent.compiled_files(micropython))
        return files, f"compiled for MicroPython {micropython}", []
    except agent.AgentFilesError as error:
        files = agent.deployed_files(agent.source_files())
        return files, "as source", [f"{error}; the agent goes there as source"]


def _is_ours(path: str, files: dict[str, bytes]) -> bool:
    """True for what belongs to the agent in one of its forms, or to another version of it."""
    if path in OWN_FILES:
        return False
    if path in files or any(path.startswith(f"{folder}/") for folder in FOLDERS):
        return True
    stem, _, suffix = path.rpartition(".")
    return suffix in ("py", "mpy") and stem in _FORMER


def _changed(board: Board, present: dict[str, int], files: dict[str, bytes]) -> list[str]:
    """The paths whose content on the board is another one, or missing."""
    same_size = [path for path, content in files.items() if present.get(path) == len(content)]
    hashes = dict(zip(same_size, board.ask("hashes", PATHS=same_size), strict=True))
    return sorted(path for path, content in files.items() if hashes.get(path) != hashlib.sha256(content).hexdigest())


def _fits(facts: dict, new: dict[str, bytes]) -> bool:
    """Return True when there is room for these files beside all that lies on the board."""
    block = facts["block_bytes"]
    return sum(-(-len(content) // block) * block for content in new.values()) <= facts["free_bytes"]


def _full(free_bytes: int, new: dict[str, bytes]) -> str:
    return (
        f"the board's file system has {free_bytes} bytes free, which is too little for {len(new)} new files of "
        f"{sum(map(len, new.values()))} bytes beside the old ones: remove what is not the agent's "
        "(.venv/bin/mpremote connect PORT rm :NAME), or have the old agent's files removed first (FORCE=1), "
        "without which the board is until the new ones are there; nothing has been changed"
    )


def _write(board: Board, new: dict[str, bytes], progress: Callable) -> None:
    """Put each file beside its place, and check what has arrived."""
    if not new:
        return
    board.ask("write")
    total = sum(map(len, new.values()))
    before = 0
    for path, content in new.items():
        part = path + _PART
        chunks = [content[at : at + _CHUNK_BYTES] for at in range(0, len(content), _CHUNK_BYTES)]
        code = [f"begin({part!r})", *(f"more({base64.b64encode(chunk).decode()!r})" for chunk in chunks)]
        for at, line in enumerate(code):
            # The first chunk goes with the opening: most files are small, and every call costs time.
            if at != 1:
                board.run(line if at or len(code) == 1 else f"{line}\n{code[1]}")
            progress(path, before + min(at * _CHUNK_BYTES, len(content)), total)
        if board.run(f"end({part!r})").strip() != hashlib.sha256(content).hexdigest():
            raise BoardError(f"{path} arrived damaged on the board: check cable and adapter, then try again")
        before += len(content)
