"""One firmware update as a transaction over two slots, otadata and the record on flash.

The order is what survives a power cut at any point: the intent is on flash before the first erase; a slot is armed only
after the image in it has been read back and checked; the new version's Id is stored only once the new firmware runs and
has proven itself. At every start `Update` compares what the record says with what the chip says. The chip wins.
"""

from micropython import const

from .errors import BadImage, DamagedImage
from .slots import SECTOR_BYTES, fingerprint, label
from .store import ARMED, DOWNLOAD, ROLLED_BACK

_ATTEMPTS_MAX = const(3)  # downloads or boots a version gets to prove itself


class Update:
    """The update of the running firmware. `store` is `store.Store`, `slots` is `slots.Slots`."""

    def __init__(self, store, slots) -> None:
        self._store = store
        self._slots = slots
        self._running = label(slots.running)
        self._image = fingerprint(slots.running)
        self.on_trial = slots.on_trial()
        self._settle()

    @property
    def installed(self) -> "str | None":
        """Id of the running version; None when it is not known."""
        if self._is_running(self._store.state):
            return self._store.state.get("versionId")
        return self._store.state["update"]["versionId"] if self._is_new() else None

    @property
    def unidentified(self) -> bool:
        """True when the record has never said which version the running image is, so that the server may know it."""
        return self.installed is None and "image" not in self._store.state

    def adopt(self, version_id: str) -> None:
        """Take the server's word that the running image is this version, and confirmed."""
        self._store.keep(versionId=version_id, slot=self._running, image=self._image, confirmed=True)

    def prove(self) -> None:
        """End the trial of the running firmware with success, and store its version's Id."""
        self._slots.mark_valid()
        self.on_trial = False
        if not self._is_new():
            # The record of this update is lost. The server cannot know either what has not been confirmed yet.
            self._store.keep(versionId=None, slot=self._running, image=self._image, confirmed=False)
        self._settle()

    def given_up(self, version_id: str) -> bool:
        """True when this version has failed here too often, or for good."""
        update = self._store.state.get("update", {})
        if update.get("versionId") == version_id and update["attempts"] >= _ATTEMPTS_MAX:
            self._give_up(version_id, update["attempts"], update.get("code", "interrupted"))
        return self._store.state.get("quarantined") == version_id

    def install(self, api, version_id: str, revision: "int | None", keys: "list[str]", progress, note) -> None:
        """Bring this version's firmware into the free slot and have the boot loader try it; reset afterwards.

        `revision` is the chip's, `keys` are the digests of those that may sign (see `image.Gate`);
        `progress(slot_label, done_bytes, size_bytes)` and `note(sentence)` are called as it goes. BadImage when the
        firmware must not run here; its version is then left alone until the target changes."""
        from .download import fetch
        from .image import Gate

        slot = self._slots.free()
        gate = Gate(self._slots.running, revision, keys)
        begun = self._store.state.get("update", {})
        if begun.get("versionId") != version_id or begun["slot"] != label(slot):
            begun = {}
        update = {"versionId": version_id, "slot": label(slot), "attempts": begun.get("attempts", 0)}

        def begin(image: "str | None" = None, etag: "str | None" = None, size: "int | None" = None) -> None:
            # From here on the slot's old image is gone.
            resume = {"image": image, "etag": etag, "size": size} if etag else {}
            self._store.keep(update=dict(update, phase=DOWNLOAD, **resume), quarantined=None)

        buffer = bytearray(SECTOR_BYTES)
        try:
            if not self._is_still_there(slot, begun, gate, buffer):
                size_bytes = fetch(api, version_id, slot, gate, begun, begin, progress, note, buffer)
                gate.check_slot(slot, size_bytes, buffer)
            # The attempt is counted before it is made: a boot that never comes back must count, too.
            update["attempts"] += 1
            self._store.keep(update=dict(update, phase=ARMED, image=fingerprint(slot)), quarantined=None)
            self._slots.arm(slot)
        except DamagedImage as error:
            # Perhaps the way here has damaged a sound image: the next try starts with nothing of it.
            update["attempts"] += 1
            update["code"] = error.code
            self._store.keep(update=dict(update, phase=DOWNLOAD), verdict=_verdict(DOWNLOAD, update))
            raise
        except BadImage as error:
            self._give_up(version_id, update["attempts"] + 1, error.code)
            raise

    def _is_still_there(self, slot, begun: dict, gate, buffer) -> bool:
        """True when the slot still holds this version's image, whole, because it was armed before."""
        if begun.get("phase") not in (ARMED, ROLLED_BACK) or begun["image"] != fingerprint(slot):
            return False
        try:
            gate.check_slot(slot, None, buffer)
        except DamagedImage:
            return False
        return True

    def _give_up(self, version_id: str, attempts: int, code: str) -> None:
        verdict = {"phase": "given up", "versionId": version_id, "attempt": attempts, "code": code}
        self._store.keep(quarantined=version_id, update=None, verdict=verdict)

    def _settle(self) -> None:
        """Bring the record in line with what runs."""
        state = self._store.state
        if self.on_trial:
            return
        update = state.get("update", {})
        if update.get("phase") == ARMED and not self._is_new() and self._slots.failed(update["slot"]):
            update = dict(update, phase=ROLLED_BACK, code="rolled_back")
            self._store.keep(update=update, verdict=_verdict("trial", update))
        if self._is_new():
            # The new firmware runs for good: it has proven itself, before this start or just now.
            update = state["update"]
            self._store.keep(
                versionId=update["versionId"],
                slot=self._running,
                image=self._image,
                confirmed=False,
                update=None,
                verdict=_verdict("installed", update),
            )
        elif "image" in state and not self._is_running(state):
            # Another firmware than the record's, say flashed by cable: its version is not known.
            self._store.keep(versionId=None, slot=self._running, image=self._image, confirmed=False)

    def _is_new(self) -> bool:
        update = self._store.state.get("update")
        return bool(update) and update["phase"] == ARMED and self._is_running(update)

    def _is_running(self, claim: dict) -> bool:
        return claim.get("slot") == self._running and claim.get("image") == self._image


def _verdict(phase: str, update: dict) -> dict:
    """How a try to update went, as the server is told it."""
    return {
        "phase": phase,
        "versionId": update["versionId"],
        "attempt": update["attempts"],
        "code": None if phase == "installed" else update["code"],
    }
