"""One firmware update as a transaction over two slots, otadata and the record on flash.

The order is what survives a power cut at any point: the intent is on flash before the first erase; a slot is armed only
after the image in it has been read back and checked; the new version's Id is stored only once the new firmware runs and
has proven itself. At every start `Update` compares what the record says with what the chip says. The chip wins.
"""

from micropython import const

from . import image
from .body import open_body
from .errors import BadImage, RetryableError
from .slots import SECTOR_BYTES, label
from .store import ARMED, DOWNLOAD

_ATTEMPTS_MAX = const(3)  # downloads or boots a version gets to prove itself

# What the network may have done to a sound image.
_PERHAPS_THE_WAY = ("truncated", "wrong_length", "wrong_hash")


class Update:
    """The update of the running firmware. `store` is `store.Store`, `slots` is `slots.Slots`."""

    def __init__(self, store, slots) -> None:
        self._store = store
        self._slots = slots
        self._running = label(slots.running)
        self._image = image.fingerprint(slots.running)
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
            self._store.keep(quarantined=version_id, update=None)
        return self._store.state.get("quarantined") == version_id

    def install(self, api, version_id: str, progress) -> None:
        """Bring this version's firmware into the free slot and have the boot loader try it; reset afterwards.

        `progress(slot_label, done_bytes, size_bytes)` is called as it goes. BadImage when the firmware must not run
        here; its version is then left alone until the target changes."""
        slot = self._slots.free()
        update = self._store.state.get("update", {})
        attempts = update["attempts"] if update.get("versionId") == version_id else 0
        buffer = bytearray(SECTOR_BYTES)
        try:
            if not self._is_still_there(slot, version_id, buffer):
                self._download(api, version_id, slot, attempts, buffer, progress)
            # The attempt is counted before it is made: a boot that never comes back must count, too.
            self._keep_update(version_id, slot, attempts + 1, image.fingerprint(slot))
            self._slots.arm(slot)
        except BadImage as error:
            if error.code in _PERHAPS_THE_WAY and attempts + 1 < _ATTEMPTS_MAX:
                self._keep_update(version_id, slot, attempts + 1)
                raise RetryableError(error.code, str(error))
            self._store.keep(quarantined=version_id, update=None)
            raise

    def _download(self, api, version_id: str, slot, attempts: int, buffer, progress) -> None:
        reply = api.firmware(version_id)
        try:
            self._write(open_body(reply), version_id, slot, attempts, buffer, progress)
        finally:
            reply.close()

    def _write(self, body, version_id: str, slot, attempts: int, buffer, progress) -> None:
        slot_bytes = slot.info()[3]
        running_head = bytearray(image.HEAD_BYTES)
        self._slots.running.readblocks(0, running_head, 0)
        view = memoryview(buffer)
        count = _fill(body, view)
        image.check_head(view[: min(count, image.HEAD_BYTES)], running_head)
        if body.size_bytes is not None and body.size_bytes - body.surplus_bytes > slot_bytes:
            raise image.too_big(slot_bytes)
        # From here on the slot's old image is gone.
        self._keep_update(version_id, slot, attempts)
        size_bytes = 0
        while count:
            if size_bytes == slot_bytes:
                raise image.too_big(slot_bytes)
            for at in range(count, SECTOR_BYTES):
                buffer[at] = 0xFF
            slot.writeblocks(size_bytes // SECTOR_BYTES, buffer)
            size_bytes += count
            progress(label(slot), size_bytes, body.size_bytes)
            count = _fill(body, view) if count == SECTOR_BYTES else 0
        image.check_slot(slot, size_bytes, buffer)

    def _is_still_there(self, slot, version_id: str, buffer) -> bool:
        """True when the slot still holds this version's image, whole, because it was armed before."""
        update = self._store.state.get("update", {})
        armed = (update.get("versionId"), update.get("slot"), update.get("image"))
        if armed != (version_id, label(slot), image.fingerprint(slot)):
            return False
        try:
            image.check_slot(slot, None, buffer)
        except BadImage:
            return False
        return True

    def _settle(self) -> None:
        """Bring the record in line with what runs."""
        state = self._store.state
        if self.on_trial:
            return
        if self._is_new():
            # The new firmware runs for good: it has proven itself, before this start or just now.
            version_id = state["update"]["versionId"]
            self._store.keep(versionId=version_id, slot=self._running, image=self._image, confirmed=False, update=None)
        elif "image" in state and not self._is_running(state):
            # Another firmware than the record's, say flashed by cable: its version is not known.
            self._store.keep(versionId=None, slot=self._running, image=self._image, confirmed=False)

    def _is_new(self) -> bool:
        update = self._store.state.get("update")
        return bool(update) and update["phase"] == ARMED and self._is_running(update)

    def _is_running(self, claim: dict) -> bool:
        return claim.get("slot") == self._running and claim.get("image") == self._image

    def _keep_update(self, version_id: str, slot, attempts: int, image: "str | None" = None) -> None:
        update = {"versionId": version_id, "slot": label(slot), "phase": DOWNLOAD, "attempts": attempts}
        if image:
            update["phase"] = ARMED
            update["image"] = image
        self._store.keep(update=update, quarantined=None)


def _fill(body, view) -> int:
    """Fill `view` from the body; fewer bytes only at its end."""
    count = 0
    while count < len(view):
        more = body.readinto(view[count:])
        if more == 0:
            break
        count += more
    return count
