"""Reading the record from `/state.json`. Nothing in it is believed unchecked: a torn, empty or foreign file is no
record, and a member that cannot be is left out."""

import json

from micropython import const

from .files import read_text
from .identifiers import is_etag, is_id
from .record import ARMED, DOWNLOAD, ROLLED_BACK, Pending, Record

_NUMBER_MAX = const(1 << 31)
_HEAD_DIGITS = const(128)
_DIGITS = const("0123456789abcdef")


def read_record(root: str) -> Record:
    """Return the record in `state.json`; an empty one when there is none."""
    record = Record(root)
    try:
        members = json.loads(read_text(root + "state.json"))
    except (OSError, ValueError, RuntimeError, MemoryError):  # the last two: nested too deep
        return record
    if not isinstance(members, dict):
        return record
    record.thing_id = _id(members, "thingId")
    record.api_key = _id(members, "apiKey")
    server = members.get("server")
    record.server = server if isinstance(server, str) else None
    record.signed = members.get("signed") is True
    record.sensors = _id(members, "sensors")
    record.renamed = members.get("renamed") is True
    record.version_id = _id(members, "versionId")
    record.slot = _id(members, "slot")
    record.image = _id(members, "image")
    record.confirmed = members.get("confirmed") is True
    record.previous_id = _id(members, "previousId")
    record.previous_image = _id(members, "previousImage")
    record.floor = _count(members, "floor") or 0
    record.quarantined = _id(members, "quarantined")
    record.day = _count(members, "day") or 0
    record.downloads = _count(members, "downloads") or 0
    record.time_s = _count(members, "time")
    outcome = members.get("verdict")
    if isinstance(outcome, dict) and _id(outcome, "versionId"):
        record.outcome = outcome
    record.pending = _pending(members.get("update"))
    return record


def _pending(members: object) -> "Pending | None":
    if not isinstance(members, dict):
        return None
    version_id, slot, attempts = _id(members, "versionId"), _id(members, "slot"), _count(members, "attempts")
    phase = members.get("phase")
    if version_id is None or slot is None or attempts is None or phase not in (DOWNLOAD, ARMED, ROLLED_BACK):
        return None
    pending = Pending(version_id, slot, attempts, phase)
    pending.image = _id(members, "image")
    pending.error_code = _id(members, "code")
    pending.whole = members.get("whole") is True
    if phase != DOWNLOAD:
        return pending if pending.image else None
    head, size_bytes = members.get("head"), _count(members, "size")
    resumable = size_bytes is not None and is_etag(members.get("etag"))
    if resumable and isinstance(head, str) and len(head) == _HEAD_DIGITS and not head.strip(_DIGITS):
        pending.head, pending.etag, pending.size_bytes = head, members["etag"], size_bytes
    return pending


def _id(members: dict, name: str) -> "str | None":
    value = members.get(name)
    return value if is_id(value) else None


def _count(members: dict, name: str) -> "int | None":
    value = members.get(name)
    return value if type(value) is int and 0 <= value < _NUMBER_MAX else None
