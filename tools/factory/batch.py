"""A batch: a list of serial numbers becomes registered, images, labels, and then boards, each serial number once."""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from tools.factory import labels, setup_network
from tools.factory.errors import FactoryError
from tools.factory.files import write_whole
from tools.factory.flash import Board, device_secret_sha256, read_image
from tools.factory.order import Order
from tools.factory.personal import Secrets, kept_secrets
from tools.factory.record import FAILED, FLASHED, STARTED, Entries, Record
from tools.factory.summary import sha256
from tools.locks import InUseError, held
from tools.server.client import Vendor, VendorError
from tools.server.commands import pick

LABELS = "labels.html"
_LIST = "batch.json"
_NAMED_AT_MOST = 10


@dataclass(frozen=True)
class Item:
    """One serial number of a batch, its image and the image's SHA-256."""

    serial: str
    image: Path
    sha256: str


class _SecretKeeper(Protocol):
    """The vendor's calls at a server that keeps hashes of device secrets."""

    def add_serials(self, product_id: str, serials: list[str], secret_sha256: dict[str, str]) -> None:
        """Register serial numbers, and the hashes of those that have a secret."""

    def serial(self, serial: str) -> dict:
        """What the server has of a serial number: hasSecret and others."""

    def set_secret(self, serial: str, secret_sha256: str) -> None:
        """Give the hash of the secret that this serial number's board has."""


@dataclass(frozen=True)
class Registration:
    """What the server knows of a list before anything is registered: the product, and its serial numbers."""

    product: dict
    known: set[str]

    @property
    def takes_secrets(self) -> bool:
        """True when this server keeps hashes of device secrets."""
        return "requiresDeviceSecret" in self.product


def look(vendor: Vendor, wanted: str | None, serials: list[str], version_id: str | None = None) -> Registration:
    """What the server says of the product that `wanted` names (None: the only one there is) and of the serial numbers.
    FactoryError names those that are another product's, or differ from a registered one by case only, and a
    `version_id` that is none of the product's."""
    try:
        products = vendor.products()
        if wanted:
            product = pick("product", products, wanted)
        elif len(products) == 1:
            product = products[0]
        else:
            names = ", ".join(product["name"] for product in products) or "there is none yet"
            raise FactoryError(f"name the product with PRODUCT=… ({names})")
        if version_id:
            _require_version(version_id, vendor.versions(product["templateId"]), product["name"])
        owners = {serial: each for each in products for serial in vendor.serials(each["id"])}
    except VendorError as error:
        raise FactoryError(f"the serial numbers are not registered: {error}") from error
    theirs = [serial for serial in serials if owners.get(serial, product)["id"] != product["id"]]
    _require_none("are another product's", theirs)
    folded = {serial.casefold(): serial for serial in owners}
    _require_none(
        "differ by case only from a registered one",
        [serial for serial in serials if serial not in owners and serial.casefold() in folded],
    )
    return Registration(product, {serial for serial, owner in owners.items() if owner["id"] == product["id"]})


def check_version(vendor: Vendor, version_id: str) -> None:
    """FactoryError unless some template of the server has this version."""
    try:
        found = [version for template in vendor.templates() for version in vendor.versions(template["id"])]
    except VendorError as error:
        raise FactoryError(f"VERSION_ID is not checked: {error} (CHECK=0 takes it as it is)") from error
    _require_version(version_id, found, "any template")


def register(
    vendor: Vendor, registration: Registration, serials: list[str], secrets: dict[str, Secrets], replace: set[str]
) -> int:
    """Register the serial numbers that are new, all of them or none, each with the hash of its device secret if the
    server keeps them; how many there were. Those that the server knows get a hash if they have none, or if they are in
    `replace`."""
    product = registration.product
    new = [serial for serial in serials if serial not in registration.known]
    hashes = {serial: own.sha256 for serial, own in secrets.items()}
    try:
        if registration.takes_secrets:
            keeper = cast(_SecretKeeper, vendor)
            for serial in sorted(hashes.keys() & registration.known):
                if serial in replace or not keeper.serial(serial)["hasSecret"]:
                    keeper.set_secret(serial, hashes[serial])
            if new:
                keeper.add_serials(product["id"], new, {serial: hashes[serial] for serial in new if serial in hashes})
        elif new:
            vendor.add_serials(product["id"], new)
    except VendorError as error:
        raise FactoryError(f"the serial numbers are not registered: {error}") from error
    return len(new)


def require_own_secrets(vendor: Vendor, registration: Registration, folder: Path, serials: list[str]) -> None:
    """FactoryError for serial numbers whose device secret the server knows, and this folder does not: their boards, or
    their images, were made elsewhere, and boards made here would not be let in."""
    if not registration.takes_secrets:
        return
    keeper, strange = cast(_SecretKeeper, vendor), []
    try:
        for serial in serials:
            has_image = kept_secrets(folder / f"{serial}.bin", serial) is not None
            if serial in registration.known and not has_image and keeper.serial(serial)["hasSecret"]:
                strange.append(serial)
    except VendorError as error:
        raise FactoryError(f"the serial numbers are not registered: {error}") from error
    _require_none(
        "have a device secret at the server, made with an image that is not in this folder (NEW_SECRETS=1 makes new "
        "ones, and locks out boards that have the old)",
        strange,
    )


@contextlib.contextmanager
def opened(folder: Path, serials: list[str], product: str | None = None) -> Iterator[None]:
    """Hold the folder for this list: no other program makes a batch in it meanwhile. FactoryError when one does, or
    when another list's batch lies in it."""
    try:
        with held(folder.parent / f"{folder.name}.lock", f"another program is making a batch in {folder}: let it end"):
            _require_same_list(folder, serials, product)
            yield
    except InUseError as error:
        raise FactoryError(str(error)) from error


@dataclass(frozen=True)
class Made:
    """A batch's images: the items in the list's order, how many of them were made now, and the secrets by serial
    number, of those boards whose secrets are known here."""

    items: list[Item]
    count: int
    secrets: dict[str, Secrets]


def make(
    order: Order, serials: list[str], folder: Path, entries: Entries, progress: Callable[[int, int], None]
) -> Made:
    """Write one image each. Images of boards that exist stay as they are: the record names their hash. An image that is
    made anew keeps its secrets: the label may be printed. `progress` is told images done and in all. OSError when the
    disk refuses."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = {item.serial: item for item in read_batch(folder)[1]} if (folder / _LIST).exists() else {}
    kept = {serial: listed[serial] for serial in serials if serial in listed and serial in entries.mac_of}
    count = len(serials) - len(kept)
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < count * order.flash_bytes:
        raise FactoryError(f"{folder}: {count * order.flash_bytes >> 20} MiB are needed, {free_bytes >> 20} are free")
    items, secrets = [], {}
    for serial in serials:
        path = folder / f"{serial}.bin"
        if serial in kept:
            items.append(kept[serial])
            own = kept_secrets(path, serial)
        else:
            own = order.secrets(path, serial)
            image = order.image(serial, own)
            write_whole(path, image)
            items.append(Item(serial, path, sha256(image)))
            progress(len(items), len(serials))
        if own:
            secrets[serial] = own
    return Made(items, count, secrets)


def finish(order: Order, product: str, folder: Path, made: Made) -> int:
    """Write the label sheet, and last the list that makes it a batch; how many boards have no label, because their
    images have no setup network, or are deleted."""
    sheet = [
        labels.Label(serial, setup_network.network_name(order.product, serial), own.setup_password)
        for serial, own in made.secrets.items()
    ]
    write_whole(folder / LABELS, labels.sheet(product, sheet).encode())
    rows = [{"serial": item.serial, "image": item.image.name, "sha256": item.sha256} for item in made.items]
    write_whole(folder / _LIST, json.dumps({"product": product, "boards": rows}, indent=1).encode() + b"\n")
    return len(made.items) - len(sheet)


def read_batch(folder: Path) -> tuple[str, list[Item]]:
    """The product and the items of a batch that was made. FactoryError when there is none."""
    try:
        batch = json.loads((folder / _LIST).read_bytes())
        items = [Item(row["serial"], folder / row["image"], row["sha256"]) for row in batch["boards"]]
        return batch["product"], items
    except OSError as error:
        raise FactoryError(f"{folder} holds no finished batch: make batch … OUT={folder}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise FactoryError(f"{folder / _LIST} cannot be read: make the batch anew") from error


def _require_same_list(folder: Path, serials: list[str], product: str | None) -> None:
    """FactoryError when the folder holds serial numbers that are not in this list, as a batch or as images of one that
    was interrupted, or another product's."""
    found = [path.stem for path in folder.glob("*.bin")]
    if (folder / _LIST).exists():
        theirs, items = read_batch(folder)
        found += [item.serial for item in items]
        if product and theirs != product:
            raise FactoryError(f"{folder} holds a batch of the product {theirs}: name another folder, OUT=…")
    others = sorted(set(found) - set(serials))
    if others:
        raise FactoryError(
            f"{folder} holds another list: {_named(others)} of it are not in this one: name another folder, OUT=…"
        )


def _require_version(version_id: str, versions: list[dict], where: str) -> None:
    if version_id not in [version["id"] for version in versions]:
        listing = ".venv/bin/python -m tools.server version list TEMPLATE"
        raise FactoryError(f"the server has no version {version_id} for {where} (VERSION_ID=…): {listing}")


def _require_none(what: str, serials: list[str]) -> None:
    if serials:
        raise FactoryError(f"the serial numbers are not registered: {_named(serials)} {what}: nothing was made")


def _named(serials: list[str]) -> str:
    more = len(serials) - _NAMED_AT_MOST
    return ", ".join(map(repr, serials[:_NAMED_AT_MOST])) + (f" and {more} more" if more > 0 else "")


def choose(items: list[Item], entries: Entries, mac: str, is_reuse: bool = False) -> Item:
    """What this board gets: what it was getting when it was interrupted, else the first that no board has. FactoryError
    when it has one already, or when there are none left."""
    begun = entries.serial_of.get(mac)
    if begun and not entries.is_flashed(begun):
        for item in items:
            if item.serial == begun:
                return item
    for item in items:
        if item.serial not in entries.mac_of:
            entries.require(item.serial, mac, is_reuse)
            return item
    if begun:
        entries.require("", mac)
    raise FactoryError(f"all {len(items)} serial numbers of this batch are on boards")


def flash_next(
    items: list[Item], record: Record, board: Board, erase: bool, is_reuse: bool, progress: Callable[[int, int], None]
) -> Item:
    """Give the board the serial number that `choose` says, and keep the record of it."""
    with record.locked() as entries:
        item = choose(items, entries, board.mac, is_reuse)
        image, serial = read_image(item.image)
        board.require_room(image)
        if serial != item.serial or sha256(image) != item.sha256:
            raise FactoryError(f"{item.image} is not what was made for {item.serial}: make the batch anew")
        record.add(item.serial, board.mac, item.sha256, STARTED, secret_sha256=device_secret_sha256(image))
    _write(item, image, record, board, erase, progress)
    return item


def flash_one(
    path: Path, record: Record, board: Board, erase: bool, is_reuse: bool, progress: Callable[[int, int], None]
) -> Item:
    """Write one image to the board, unless its serial number is another board's, and keep the record of it."""
    image, serial = read_image(path)
    board.require_room(image)
    item = Item(serial, path, sha256(image))
    with record.locked() as entries:
        entries.require(serial, board.mac, is_reuse)
        record.add(serial, board.mac, item.sha256, STARTED, secret_sha256=device_secret_sha256(image))
    _write(item, image, record, board, erase, progress)
    return item


def _write(
    item: Item, image: bytes, record: Record, board: Board, erase: bool, progress: Callable[[int, int], None]
) -> None:
    """Write the image, and say in the record how it went."""
    try:
        board.write(image, erase, progress)
    except FactoryError as error:
        record.add(item.serial, board.mac, item.sha256, FAILED, str(error))
        raise
    record.add(item.serial, board.mac, item.sha256, FLASHED, secret_sha256=device_secret_sha256(image))
