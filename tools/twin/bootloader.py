"""The boot loader of the virtual ESP32: what ESP-IDF's does at every reset, on the same counted flash."""

from tools.twin import image, otadata, partitions
from tools.twin.flash import Flash


class NothingToBoot(Exception):
    """No slot holds an image that the chip would start."""


def start(flash: Flash) -> tuple[str, str]:
    """Choose the app and bring otadata up to date; the partition's label, and why in a few words."""
    table = partitions.read_table(flash)
    slots = partitions.ota_slots(table)
    factory = partitions.factory(table)
    place = partitions.otadata(table)
    if place is None:
        return _load(flash, slots, factory, -1), "no otadata"
    address = place[2]

    otadata.abort_pending(flash, address)
    records = otadata.read_records(flash, address)
    active = otadata.active_sector(records)
    if active is None:
        label = _load(flash, slots, factory, -1 if factory else 0)
        if not factory and all(_is_initial(*record) for record in records):
            index = [slot[4] for slot in slots].index(label)
            otadata.write_record(flash, address, 0, index + 1, otadata.VALID)
        return label, "first boot"
    sequence, state, _ = records[active]
    if state == otadata.NEW:
        otadata.write_record(flash, address, active, sequence, otadata.PENDING_VERIFY)
    wanted = (sequence - 1) % len(slots)
    label = _load(flash, slots, factory, wanted)
    if label != slots[wanted][4]:
        return label, f"{slots[wanted][4]} cannot be loaded"
    return label, "on trial" if state == otadata.NEW else "as before"


def _is_initial(sequence: int, state: int, sound: bool) -> bool:
    """True for a record that nobody has used yet; one that a power cut has torn is none, and stays as it is."""
    return sequence == otadata.BLANK or (not sound and state in (otadata.INVALID, otadata.ABORTED))


def _load(flash: Flash, slots: list, factory: tuple | None, wanted: int) -> str:
    """The first partition with a sound image: the wanted one, those before it, the factory app, those after it."""
    order = [*slots[wanted::-1]] if wanted >= 0 else []
    order += [factory] if factory else []
    order += slots[wanted + 1 :]
    for partition in order:
        if image.problem(flash, partition[2], partition[3]) is None:
            return partition[4]
    raise NothingToBoot("no bootable app partition: flash the board anew")
