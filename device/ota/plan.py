"""The plan of an update: where the firmware goes, and what of it is there already."""

import binascii

from agent.record import DOWNLOAD, Pending, Version
from agent.runner import run
from micropython import const

from .slot import HELD_BACK_BYTES, SECTOR_BYTES, Slot
from .slots import Slots
from .update import Download, Update

_PROBE_BYTES = const(64)  # as many as the record has of the head


def plan(device, target: Version) -> Update:
    """Return the update to this version. PermanentError on a board without two slots; RuntimeError during a trial."""
    slots = Slots(device.board.Partition)
    slot = slots.free()
    begun = device.record.pending
    if begun and begun.version_id != target.id:
        begun = None
    attempts = begun.attempts if begun and begun.slot == slot.label else 0
    update = Update(device, target, slots.running, slot, Pending(target.id, slot.label, attempts))
    update.day = run("ota.hold", "today", device)
    update.chip_revision = device.board.chip_revision()
    if not device.settings.signing_keys:
        update.say("needs no signature: this board has no signing_keys")
    if not begun or begun.phase == DOWNLOAD:
        update.pending.whole = begun is not None and begun.whole
        base = None if update.pending.whole else run("ota.layout", "fingerprint", slots.running)
        update.download = Download(base or "")
        if begun and begun.head and begun.slot == slot.label:
            head = binascii.unhexlify(begun.head)
            update.offset = _resume_at(slot, head, begun.size_bytes)
            update.download.size_bytes, update.download.etag = begun.size_bytes, begun.etag
            slot.held_back = head[:HELD_BACK_BYTES]
    return update


def _resume_at(slot: Slot, head: bytes, size_bytes: int) -> int:
    """Return the byte where an interrupted download of `size_bytes` goes on: the start of the last sector begun.

    0 when the slot does not begin like an unfinished download of this `head`: it holds what was there before."""
    probe = bytearray(_PROBE_BYTES)
    blank = b"\xff" * _PROBE_BYTES
    slot.read(0, probe)
    if probe != blank[:HELD_BACK_BYTES] + head[HELD_BACK_BYTES:]:
        return 0
    at = SECTOR_BYTES
    size_bytes = min(size_bytes, slot.size_bytes)
    while at < size_bytes:
        slot.read(at, probe)
        if probe == blank:
            break
        at += SECTOR_BYTES
    return at - SECTOR_BYTES  # the sector before the blank one may be torn
