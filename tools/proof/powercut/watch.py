"""What is true of the flash at a moment, seen from outside: which slot could be started, what a cut has left behind."""

from tools.twin import image, otadata, partitions
from tools.twin.flash import Flash


class Watch:
    """Looks at the slots after every operation, also one that was cut.

    The chip starts any slot with a sound image when the chosen one is damaged. So a slot must at no moment hold one
    that it would start, unless that has passed every check: `server` knows which have. `states` counts how often a slot
    was looked at, `loadable` how often the chip would have started it; `problem` is the first violation."""

    def __init__(self, server) -> None:
        self._server = server
        self._slots: list = []
        self.states = 0
        self.loadable = 0
        self.problem: str | None = None

    def look(self, flash: Flash, address: int) -> None:
        """Look at the slot that holds this address, if it is in one."""
        self._slots = self._slots or partitions.ota_slots(partitions.read_table(flash))
        for slot in self._slots:
            if slot[2] <= address < slot[2] + slot[3]:
                self.states += 1
                if image.problem(flash, slot[2], slot[3]) is None:
                    self.loadable += 1
                    if not self._server.has_checked(slot[4], lambda at, size: bytes(flash.read(at, size))):
                        self.problem = self.problem or f"{slot[4]} could be started, and holds what was not checked"


def untraced_trial(flash: Flash, trace: str) -> bool:
    """True when the boot loader has started a trial of which boot.py has not left this trace yet."""
    return any(
        sound and state == otadata.PENDING_VERIFY and trace != str(sequence)
        for sequence, state, sound in _records(flash)
    )


def is_vouched_for(flash: Flash, trace: str) -> bool:
    """True when otadata has been told of a trial that the trace of an earlier one, with the same number, vouches for:
    it is removed right after that."""
    return any(sound and state == otadata.NEW and trace == str(sequence) for sequence, state, sound in _records(flash))


def is_record_lost(flash: Flash) -> bool:
    """True when otadata lacks one of its two records: each is erased before it is replaced."""
    return not all(sound for _, _, sound in _records(flash))


def _records(flash: Flash) -> list:
    place = partitions.otadata(partitions.read_table(flash))
    assert place
    return otadata.read_records(flash, place[2])
