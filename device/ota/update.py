"""One update of this board: from the plan to the armed slot. The rest happens after the reset, see `reconcile`."""

from agent.errors import AgentError, PermanentError, RetryableError
from agent.identifiers import is_etag
from agent.record import ARMED, DOWNLOAD, Pending, Version
from agent.runner import run
from micropython import const

from .slots import SECTOR_BYTES, Slots, fingerprint

_HEADER_BYTES = const(288)  # what the header check needs
_PART_BYTES = const(2048)  # of a sector
_PARTIAL_CONTENT = const(206)


class Download:
    """What to ask the server for: the firmware from byte `offset` on, of `size_bytes`, if it is still that of `etag`."""

    def __init__(self) -> None:
        self.offset = 0
        self.size_bytes = 0
        self.etag = ""


def install(device, target: Version, fetch) -> None:
    """Bring this version into the free slot and have the boot loader try it, at a reset that the caller does.

    `fetch(device, version_id, download)` returns the server's response. AgentError when that fails; a version that must
    not run here is then left alone. RuntimeError during a trial."""
    update = Update(device, target)
    if not device.settings.signing_keys:
        update.say("needs no signature: /config.json has no signing_keys")
    download = update.download()
    size_bytes = None
    if download:
        response = fetch(device, target.id, download)
        try:
            size_bytes = update.receive(response, download)
        finally:
            response.close()
    update.check(size_bytes)
    update.arm()
    update.say("checked, starting it")


class Update:
    """Brings a firmware into the free slot, and has the boot loader try it. Each step is on flash before it is taken."""

    def __init__(self, device, target: Version) -> None:
        self._device = device
        self._target = target
        slots = Slots(device.board.Partition)
        self._slot = slots.free()
        self._running = slots.running
        begun = device.record.pending
        self._begun = begun if begun and begun.version_id == target.id else None
        attempts = self._begun.attempts if self._begun and self._begun.slot == self._slot.label else 0
        self._pending = Pending(target.id, self._slot.label, attempts)

    def download(self) -> "Download | None":
        """Return what to ask the server for; None when the image should still be in its slot, armed before."""
        begun = self._begun
        if begun and begun.phase != DOWNLOAD:
            return None
        download = Download()
        if begun and begun.etag and begun.slot == self._slot.label and begun.image == self._slot.fingerprint():
            download.offset = run("ota.writer", "resume_at", self._slot, begun.size_bytes)
            download.size_bytes = begun.size_bytes
            download.etag = begun.etag
        return download

    def receive(self, response, download: Download) -> int:
        """Write the firmware in the response into the slot, if its header may run here; return its size in bytes."""
        body = run("ota.decoder", "open_body", response)
        view = _scratch()
        head = view[: body.readinto(view[:_HEADER_BYTES])]
        offset = self._accepted_offset(response, download)
        size_bytes = None if body.size_bytes is None else offset + body.size_bytes
        # Only an exact size tells which sector is the last one that may be erased.
        etag = None if size_bytes is None or body.surplus_bytes else response.headers.get("etag")
        end = size_bytes if etag else None
        if offset == 0:
            # Escapes make a text look longer than its image is.
            self._check_header(head, size_bytes if size_bytes and not body.surplus_bytes else 0)
            end = self._write_ahead(head, etag, size_bytes)
        title = f"[4/5] firmware {self._target.name} into {self._slot.label}"

        def progress(done_bytes: int) -> None:
            self._device.board.feed()
            self._device.console.progress(title, done_bytes, size_bytes)

        written_bytes = run("ota.writer", "write", self._slot, body, view, len(head), offset, end, progress)
        body.finish()
        return written_bytes

    def check(self, size_bytes: "int | None") -> None:
        """Check the image as it lies in the slot, `size_bytes` long; None when only the image itself can tell."""
        # What should still be there from another time need not be: the board may have been flashed by cable since.
        expected = self._device.record.pending.image
        if expected and expected != self._slot.fingerprint():
            self._refuse(RetryableError("wrong_hash"))
        view = _scratch()
        self._slot.read(0, view)
        self._check_header(view, size_bytes or 0)
        self._run_check("ota.image", "check_image", self._slot, size_bytes, self._device.settings.signing_keys, view)

    def arm(self) -> None:
        """Have the boot loader try the slot at the next reset."""
        pending = self._pending
        # The attempt is counted before it is made: a boot that never comes back must count, too.
        pending.attempts += 1
        pending.phase = ARMED
        pending.image, pending.etag, pending.size_bytes = self._slot.fingerprint(), None, None
        self._device.record.write_ahead(pending, quarantined=None)
        try:
            Slots(self._device.board.Partition).arm(self._slot)
        except AgentError as error:
            self._refuse(error)

    def _accepted_offset(self, response, download: Download) -> int:
        """Return the byte from which on the server gives the firmware."""
        if download.offset and response.status_code == _PARTIAL_CONTENT:
            self.say(f"goes on at byte {download.offset}")
            return download.offset
        if download.offset:
            self.say("starts over: the server does not offer the rest of it")
        return 0

    def _write_ahead(self, head, etag: "str | None", size_bytes: "int | None") -> "int | None":
        """Write the record: from here on the slot's old image is gone. Return where the firmware certainly ends."""
        pending = self._pending
        if is_etag(etag):
            pending.image, pending.etag, pending.size_bytes = fingerprint(head), etag, size_bytes
        self._device.record.write_ahead(pending, quarantined=None)
        return pending.size_bytes

    def _check_header(self, head, size_bytes: int) -> None:
        revision = self._device.board.chip_revision()
        self._run_check("ota.header", "check_header", head, size_bytes, self._slot, self._running, revision)

    def _run_check(self, module: str, function: str, *arguments) -> None:
        """Run a check of the firmware; one that fails is recorded."""
        try:
            run(module, function, *arguments)
        except AgentError as error:
            self._refuse(error)

    def _refuse(self, error: AgentError) -> None:
        """Record that the firmware has failed a check, and raise that."""
        pending = self._pending
        if pending.phase != ARMED:  # arming has counted it
            pending.attempts += 1
        pending.error_code = error.code
        if isinstance(error, PermanentError):
            run("ota.reconcile", "give_up", self._device.record, pending)
        else:
            # Perhaps the way here has damaged a sound image: the next try starts with nothing of it.
            pending.phase, pending.image, pending.etag, pending.size_bytes = DOWNLOAD, None, None, None
            self._device.record.write_ahead(pending, outcome=pending.outcome("download"))
        raise error

    def say(self, sentence: str) -> None:
        """Print a line of the scenario's step 4."""
        self._device.console.step(4, "firmware {} {}", self._target.name, sentence)


def _scratch() -> memoryview:
    """Return memory for a sector, or for a part of one on a heap that has no such piece left."""
    try:
        return memoryview(bytearray(SECTOR_BYTES))
    except MemoryError:
        return memoryview(bytearray(_PART_BYTES))
