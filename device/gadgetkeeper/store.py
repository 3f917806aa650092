"""The agent's one record on flash, `/state.json`: a dict, replaced as a whole (temporary file, then rename), so that a
power cut leaves the old record or the new one, nothing in between. `files.record` reads it.

Its members: thingId, apiKey, renamed; versionId with the slot and the image it is claimed for, confirmed; quarantined;
verdict, which the server has not heard yet; update, the one under way. An update's phase is "download" (its slot holds
anything), "armed" (it holds the new image, checked; the boot loader has been told, or is about to be), or "rolled back"
(the same, after a boot that did not prove itself).
"""

import json
import os

from .errors import RetryableError

root = "/"


def keep(state: dict, **members: object) -> None:
    """Put these members into the record and the record onto flash; None removes one. Nothing is written when nothing
    changed. RetryableError when the flash is full or fails; the old record on it is then still whole."""
    changed = state.pop("unsaved", False)
    for name, value in members.items():
        if state.get(name) != value:
            changed = True
            state[name] = value
        if value is None:
            state.pop(name, None)
    if not changed:
        return
    whole = dict(state)
    state["unsaved"] = True
    try:
        with open(root + "state.new", "w") as file:
            file.write(json.dumps(whole))
        os.rename(root + "state.new", root + "state.json")
    except OSError as error:
        raise RetryableError("state_not_saved", error)
    del state["unsaved"]


def is_id(value: object) -> bool:
    """True for what may stand in a path, a header and a record as an Id or a key: 1 to 64 of A-Z a-z 0-9 . _ -"""
    if not isinstance(value, str) or not 0 < len(value) <= 64 or value[0] == ".":
        return False
    return not value.strip("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._-")


def is_etag(value: object) -> bool:
    """True for a strong entity tag that fits the record: an Id in quotes, as servers make it."""
    return isinstance(value, str) and value[:1] == value[-1:] == '"' and is_id(value[1:-1])
