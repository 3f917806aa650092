"""What the agent knows and does, with names; `/state.json` keeps it on flash through resets."""

from .runner import run

DOWNLOAD = "download"  # the free slot holds anything
ARMED = "armed"  # the free slot holds the new image, checked; the boot loader has been told, or is about to be
ROLLED_BACK = "rolled back"  # the same, after a boot that did not prove itself


class Version:
    """A firmware version as the server names it."""

    def __init__(self, version_id: str, name: str) -> None:
        self.id = version_id
        self.name = name


class Running:
    """What the chip says of the running release: its slot's label, its image's fingerprint, whether it is on trial."""

    def __init__(self, slot: str, image: str, on_trial: bool) -> None:
        self.slot = slot
        self.image = image
        self.on_trial = on_trial


class Pending:
    """The update under way, written ahead of each of its steps. With a `head`, its download can be resumed."""

    def __init__(self, version_id: str, slot: str, attempts: int = 0, phase: str = DOWNLOAD) -> None:
        self.version_id = version_id
        self.slot = slot
        self.attempts = attempts
        self.phase = phase
        self.image: str | None = None  # fingerprint of the release that is armed
        self.head: str | None = None  # the download's first 64 bytes, in hex; half of them are written last
        self.etag: str | None = None
        self.size_bytes: int | None = None
        self.whole = False  # no patch is asked for any more
        self.error_code: str | None = None


class Record:
    """The agent's one record. What it claims to be installed is bound to a slot and to the image in it, so that it
    never claims a firmware that does not run. `dirty` is True while flash does not hold it."""

    def __init__(self, root: str) -> None:
        self._root = root
        self.dirty = False
        self.thing_id: str | None = None
        self.api_key: str | None = None
        self.server: str | None = None  # that has activated the thing
        self.signed = False  # from then on only signed releases are taken
        self.sensors: str | None = None  # ROM codes of the first one seen, and of a second
        self.renamed = False
        self.version_id: str | None = (
            None  # of the installed firmware; where it lies, and its fingerprint, in the next two
        )
        self.slot: str | None = None
        self.image: str | None = None
        self.confirmed = False
        self.previous_id: str | None = None  # of the release in the other slot, the way back
        self.previous_image: str | None = None
        self.floor = 0  # no release with a lower number is installed any more
        self.quarantined: str | None = None  # Id of a version that has failed here
        self.day = 0  # number of the day on which the last download began
        self.downloads = 0  # that began on it
        self.outcome: dict | None = None  # of the last update, until the server has heard it
        self.pending: Pending | None = None
        self.time_s: int | None = None  # the latest time learned, in seconds since 2000

    def save(self, **changes: object) -> None:
        """Change these members, and write the record if it is not on flash like this. RetryableError when flash is full
        or fails; the old record on it is then still whole."""
        for name, value in changes.items():
            if getattr(self, name) != value:
                setattr(self, name, value)
                self.dirty = True
        if self.dirty:
            run("agent.record_writer", "write_record", self, self._root)
            self.dirty = False

    def write_ahead(self, pending: Pending, **changes: object) -> None:
        """Write the record with this update, changed in place or new, and with these other changes. RetryableError as
        `save`."""
        self.pending = pending
        self.dirty = True
        self.save(**changes)
