"""What runs, and what the record says about it: they are compared at every start, and the chip wins.

An update is a transaction over two slots, otadata and the record (see `install`). Its order is what survives a power
cut at any point: the intent is on flash before the first erase; a slot is armed only after the image in it has been
read back and checked; the new version's Id is stored only once the new firmware runs and has proven itself.
"""

from micropython import const

from .fingerprint import fingerprint, label
from .slots import Slots
from .store import keep

_ATTEMPTS_MAX = const(3)  # downloads or boots a version gets to prove itself


def settle(state: dict, partition) -> "tuple[dict, bool, int]":
    """Bring the record in line with what runs: slot and image of the running firmware, as the record names them;
    whether it is on trial; and how many bytes of an interrupted download are of use. `partition` is
    `esp32.Partition`."""
    keep(state)  # what flash could not take before
    if "update" in state:
        try:
            slot = partition(state["update"]["slot"])
        except OSError:  # the record is of another board, or of another partition table
            keep(state, update=None)
    slots = Slots(partition)
    runs = _running(slots)
    on_trial = slots.on_trial()
    if not on_trial:
        _settle(state, slots, runs)
    update = state.get("update", {})
    start = 0
    if "etag" in update and update["slot"] != runs["slot"] and update["image"] == fingerprint(slot):
        from .download import resume_at

        start = resume_at(slot, update["size"])
    return runs, on_trial, start


def prove(state: dict, partition) -> None:
    """End the trial of the running firmware with success, and store its version's Id."""
    slots = Slots(partition)
    runs = _running(slots)
    slots.mark_valid()
    if not _is_new(state, runs) and not _is(state, runs):
        # The record of this update is lost. The server cannot know either what has not been confirmed yet.
        keep(state, versionId=None, confirmed=False, **runs)
    _settle(state, slots, runs)


def verdict(update: dict, phase: str) -> dict:
    """How a try to update went, as the server is told it."""
    code = None if phase == "installed" else update.get("code", "interrupted")
    return {"phase": phase, "versionId": update["versionId"], "attempt": update["attempts"], "code": code}


def give_up(state: dict, update: dict) -> None:
    """Leave this version alone until the target changes."""
    keep(state, quarantined=update["versionId"], update=None, verdict=verdict(update, "given up"))


def _settle(state: dict, slots: Slots, runs: dict) -> None:
    update = state.get("update", {})
    if _is_new(state, runs):
        # The new firmware runs for good: it has proven itself, before this start or just now.
        done = verdict(update, "installed")
        keep(state, versionId=update["versionId"], confirmed=False, update=None, verdict=done, **runs)
        return
    if "image" in state and not _is(state, runs):
        # Another firmware than the record's, say flashed by cable: its version is not known.
        keep(state, versionId=None, confirmed=False, **runs)
    if not update:
        return
    if update["phase"] == "armed" and slots.failed(update["slot"]):
        update = dict(update, phase="rolled back", code="rolled_back")
        keep(state, update=update, verdict=verdict(update, "trial"))
    if update["attempts"] >= _ATTEMPTS_MAX:
        give_up(state, update)


def _running(slots: Slots) -> dict:
    return {"slot": label(slots.running), "image": fingerprint(slots.running)}


def _is(claim: dict, runs: dict) -> bool:
    return claim.get("slot") == runs["slot"] and claim.get("image") == runs["image"]


def _is_new(state: dict, runs: dict) -> bool:
    update = state.get("update", {})
    return update.get("phase") == "armed" and _is(update, runs)
