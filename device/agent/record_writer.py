"""Writing the record to `/state.json`, which is replaced as a whole (temporary file, then rename): a power cut leaves
the old record or the new one."""

import json

from .errors import RetryableError
from .files import replace_text


def write_record(record, root: str) -> None:
    """Write the record. RetryableError when flash is full or fails; the old record on it is then still whole."""
    try:
        replace_text(root + "state.json", json.dumps(_encode(record)))
    except OSError as error:
        raise RetryableError("state_not_saved", error)


def _encode(record) -> dict:
    # Some names there are older than those of the attributes.
    members = {
        "thingId": record.thing_id,
        "apiKey": record.api_key,
        "server": record.server,
        "signed": record.signed,
        "sensors": record.sensors,
        "renamed": record.renamed,
        "versionId": record.version_id,
        "slot": record.slot,
        "image": record.image,
        "confirmed": record.confirmed,
        "previousId": record.previous_id,
        "previousImage": record.previous_image,
        "floor": record.floor,
        "quarantined": record.quarantined,
        "day": record.day,
        "downloads": record.downloads,
        "verdict": record.outcome,
        "time": record.time_s,
    }
    pending = record.pending
    if pending:
        members["update"] = _without_none(
            {
                "versionId": pending.version_id,
                "slot": pending.slot,
                "attempts": pending.attempts,
                "phase": pending.phase,
                "image": pending.image,
                "head": pending.head,
                "etag": pending.etag,
                "size": pending.size_bytes,
                "whole": pending.whole or None,
                "code": pending.error_code,
            }
        )
    return _without_none(members)


def _without_none(members: dict) -> dict:
    for name in tuple(members):
        if members[name] is None:
            del members[name]
    return members
