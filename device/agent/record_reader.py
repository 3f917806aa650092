"""Reading the record from `/state.json`. Nothing in it is believed unchecked: a torn, empty or foreign file is no record,
and a member that cannot be is left out."""

import json

from .files import read_text
from .identifiers import is_etag, is_id
from .record import ARMED, DOWNLOAD, ROLLED_BACK, Pending, Record

_BEYOND_CALENDAR_S = 1 << 31


def read_record(root: str) -> Record:
    """Return the record in `state.json`; an empty one when there is none."""
    record = Record(root)
    try:
        members = json.loads(read_text(root + "state.json"))
    except (OSError, ValueError):
        return record
    if not isinstance(members, dict):
        return record
    record.thing_id = _id(members, "thingId")
    record.api_key = _id(members, "apiKey")
    record.renamed = members.get("renamed") is True
    record.version_id = _id(members, "versionId")
    record.slot = _id(members, "slot")
    record.image = _id(members, "image")
    record.confirmed = members.get("confirmed") is True
    record.quarantined = _id(members, "quarantined")
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
    if phase == DOWNLOAD and "etag" in members:
        pending.etag, pending.size_bytes = members["etag"], _count(members, "size")
        if pending.image is None or pending.size_bytes is None or not is_etag(pending.etag):
            return None
    return None if phase != DOWNLOAD and pending.image is None else pending


def _id(members: dict, name: str) -> "str | None":
    value = members.get(name)
    return value if is_id(value) else None


def _count(members: dict, name: str) -> "int | None":
    value = members.get(name)
    return value if type(value) is int and 0 <= value < _BEYOND_CALENDAR_S else None
