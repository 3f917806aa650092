"""Patches: what a thing downloads instead of a whole firmware (RFC 3229, docs/patch-format.md). Made in the background,
kept by content beside the firmware.

A patch is made for the releases that things really run, of each firmware that things should run, or soon may: targets,
pins, rollouts, and the newest version of a template. Of each firmware there is one patch without a base as well, which
is the firmware compressed. An empty file stands for a patch that is not worth it, one that ends in `.failed` for one
that could not be made: it is tried again later.
"""

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tools import delta, locks, ondevice

from .firmware import IM_USED, RAW, Firmware, FirmwareFiles, Representation
from .model import ACTIVE_STATES, Rollout, Template, Thing, Version

log = logging.getLogger("gadgetkeeper")

NAME = "gkp"
"""The name of these patches as an instance manipulation."""

_NO_BASE = "none"
_LIMIT_S = 120  # for one patch
_AGAIN_S = 3600  # after a failure
_FINGERPRINTS_MAX = 10_000


@dataclass(frozen=True)
class Patch:
    """A patch that there is: a file, and the release that it is for ("": for any, the firmware is only compressed)."""

    path: Path
    size_bytes: int
    base: str


class Patches:
    """The patches in a folder: one immutable file for each base and firmware."""

    def __init__(self, folder: Path, files: FirmwareFiles) -> None:
        self.folder = folder
        self._files = files
        self._fingerprints: dict[str, str | None] = {}
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def best(self, sha256: str, size_bytes: int, base: str) -> Patch | None:
        """The smallest patch for the firmware with this hash and size that a thing can follow which runs the release
        with the fingerprint `base` ("": nobody knows); None where the firmware itself is no larger."""
        names = [_NO_BASE] + [base] * bool(base)
        found = [Patch(path, size, "" if name == _NO_BASE else name) for name, path, size in self._sizes(names, sha256)]
        return min((patch for patch in found if 0 < patch.size_bytes < size_bytes), key=_size, default=None)

    def is_made(self, sha256: str, base: str) -> bool:
        """True when there is nothing to do just now for this base ("": none) and firmware."""
        path = self._path(base or _NO_BASE, sha256)
        return path.exists() or _has_failed_lately(path)

    def fingerprint(self, sha256: str) -> str | None:
        """What a thing calls the firmware with this hash when it runs it; None for a file that is no image."""
        if sha256 not in self._fingerprints:
            if len(self._fingerprints) >= _FINGERPRINTS_MAX:
                self._fingerprints.clear()
            self._fingerprints[sha256] = ondevice.fingerprint(self._files.path(sha256))
        return self._fingerprints[sha256]

    def make(self, base_sha256: str | None, sha256: str) -> None:
        """Make a patch, unless there is one; takes seconds."""
        base = self.fingerprint(base_sha256) if base_sha256 else _NO_BASE
        if not base or self.is_made(sha256, base):
            return
        path = self._path(base, sha256)
        part = path.with_suffix(".part")
        image = self._files.path(sha256)
        below_bytes = image.stat().st_size
        if compressed := self.best(sha256, below_bytes, ""):
            below_bytes = compressed.size_bytes
        try:
            size_bytes = delta.make_patch_file(
                self._files.path(base_sha256) if base_sha256 else None, image, part, below_bytes, _LIMIT_S
            )
        except (delta.PatchError, OSError) as error:
            log.warning("no patch for the firmware %s: %s", sha256, error)
            part.unlink(missing_ok=True)
            _failed(path).touch()
            return
        _failed(path).unlink(missing_ok=True)
        if size_bytes is None:
            part.write_bytes(b"")
        os.replace(part, path)

    def keep_only(self, wanted: Iterable[str]) -> None:
        """Remove the patches of all firmware but that with these hashes."""
        hashes = set(wanted)
        for path in self.folder.glob("*-*"):
            if path.stem.partition("-")[2] not in hashes:
                path.unlink(missing_ok=True)

    def _path(self, base: str, sha256: str) -> Path:
        return self.folder / f"{base}-{sha256}"

    def _sizes(self, bases: list[str], sha256: str) -> Iterable[tuple[str, Path, int]]:
        for base in bases:
            path = self._path(base, sha256)
            try:
                yield base, path, path.stat().st_size
            except OSError:
                continue


def _failed(path: Path) -> Path:
    return path.with_suffix(".failed")


def _has_failed_lately(path: Path) -> bool:
    try:
        return time.time() - _failed(path).stat().st_mtime < _AGAIN_S
    except OSError:
        return False


@dataclass(frozen=True)
class Wanted:
    """A firmware that things should run, or soon may, and those that they run now, the most frequent first."""

    sha256: str
    bases: tuple[str, ...]


def wanted(session: Session, bases_max: int) -> list[Wanted]:
    """All patches that there should be: of each firmware for so many others."""
    found: dict[str, tuple[str, ...]] = {}
    for template_id, target_id in session.execute(select(Template.id, Template.target_version_id)):
        running = bases(session, template_id)[:bases_max]
        ids = {target_id, session.scalar(_newest(template_id))}
        ids |= set(session.scalars(select(Thing.pinned_version_id).where(Thing.template_id == template_id).distinct()))
        rollouts = select(Rollout.version_id).where(
            Rollout.template_id == template_id, Rollout.state.in_(ACTIVE_STATES)
        )
        ids |= set(session.scalars(rollouts))
        hashes = select(Version.firmware_sha256).where(Version.id.in_([each for each in ids if each]))
        for sha256 in session.scalars(hashes):
            others = tuple(base.sha256 for base in running if base.sha256 != sha256)
            found[sha256] = found.get(sha256, ()) + others
    return [Wanted(sha256, tuple(dict.fromkeys(others))) for sha256, others in found.items()]


@dataclass(frozen=True)
class Download:
    """What things that run version `base` (None: another, or none that is known) download, if all is made."""

    base: str | None
    things: int
    size_bytes: int
    is_made: bool


@dataclass(frozen=True)
class Base:
    """A version that things run: its name, its firmware's hash, how many things."""

    name: str
    sha256: str
    things: int


def downloads(session: Session, patches: Patches, version: Version, bases_max: int) -> list[Download]:
    """What a version costs those that take patches: each release that things run, the most frequent first; then all
    others."""
    sha256, size_bytes = version.firmware_sha256, version.size_bytes
    is_wanted = bases_max and any(each.sha256 == sha256 for each in wanted(session, bases_max))
    found = []
    others = 0
    for number, base in enumerate(bases(session, version.template_id)):
        if base.sha256 == sha256:
            continue
        if number >= bases_max:
            others += base.things
            continue
        fingerprint = patches.fingerprint(base.sha256) or ""
        # First whether, then which: a patch that comes in between is then told as not ready, and not as none.
        is_made = not is_wanted or patches.is_made(sha256, fingerprint)
        best = patches.best(sha256, size_bytes, fingerprint)
        found.append(Download(base.name, base.things, best.size_bytes if best else size_bytes, is_made))
    is_made = not is_wanted or patches.is_made(sha256, "")
    best = patches.best(sha256, size_bytes, "")
    return [*found, Download(None, others, best.size_bytes if best else size_bytes, is_made)]


def bases(session: Session, template_id: str) -> list[Base]:
    """What a template's things run, the most frequent first."""
    count = func.count(Thing.id)
    running = (
        select(Version.number, Version.firmware_sha256, count)
        .join(Version, Version.id == Thing.current_version_id)
        .where(Thing.template_id == template_id)
        .group_by(Version.number, Version.firmware_sha256)
        .order_by(count.desc(), Version.number.desc())
    )
    return [Base(str(number), sha256, things) for number, sha256, things in session.execute(running)]


def _newest(template_id: str):
    return select(Version.id).where(Version.template_id == template_id).order_by(Version.number.desc()).limit(1)


def choose(patches: Patches, firmware: Firmware, headers: Mapping[str, str]) -> Representation | None:
    """What a request with these headers gets instead of a raw firmware; None when it does not ask for a patch, or there
    is none that is smaller."""
    base = asked_base(headers)
    patch = None if base is None else patches.best(firmware.sha256, firmware.size_bytes, base)
    if patch is None:
        return None
    # It is an answer about the firmware, whose entity tag it has; a cache that does not know that must not keep it.
    shown = {"IM": NAME, "Cache-Control": "no-store"}
    if patch.base:
        shown["Delta-Base"] = f'"{patch.base}"'
    return Representation(
        patch.path,
        RAW,
        f'"{firmware.sha256}"',
        0,
        patch.size_bytes,
        status=IM_USED,
        takes_ranges="range" in _manipulations(headers),
        headers=shown,
    )


def asked_base(headers: Mapping[str, str]) -> str | None:
    """The release that a request names as what its thing runs ("": none that can be); None when it takes no patch."""
    if NAME not in _manipulations(headers):
        return None
    tags = [tag.strip() for tag in headers.get("if-none-match", "").split(",")]
    for tag in tags:
        name = tag[1:-1]
        if tag == f'"{name}"' and len(name) == 32 and set(name) <= set("0123456789abcdef"):
            return name
    return ""


def _manipulations(headers: Mapping[str, str]) -> list[str]:
    return [entry.partition(";")[0].strip().lower() for entry in headers.get("a-im", "").split(",")]


async def make_all(context) -> None:
    """Make the patches that are missing, one after the other; where several processes share the folder, in one."""
    if not context.settings.patch_bases:
        return

    def work() -> None:
        # First the lock: what was looked up before another process had it would remove what that one has made.
        with (
            contextlib.suppress(locks.InUseError),
            locks.held(context.patches.folder / "lock", "another process makes the patches"),
        ):
            with context.database.reading() as session:
                needed = wanted(session, context.settings.patch_bases)
            context.patches.keep_only(each.sha256 for each in needed)
            for each in needed:
                context.patches.make(None, each.sha256)
            for each in needed:
                for base in each.bases:
                    context.patches.make(base, each.sha256)

    await asyncio.wrap_future(_in_background(work))


def _in_background(function) -> Future:
    """Call in a thread that the program's end does not wait for; how it went."""
    future: Future = Future()

    def call() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            if not future.cancelled():
                future.set_exception(error)

    threading.Thread(target=call, name="patches", daemon=True).start()
    return future


def _size(patch: Patch) -> int:
    return patch.size_bytes
