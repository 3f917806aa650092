"""A batch: a list of serial numbers becomes registered, images, labels, and then boards, each serial number once."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tools.factory import labels, settings
from tools.factory.errors import FactoryError
from tools.factory.files import write_whole
from tools.factory.flash import Board, read_image
from tools.factory.order import Order
from tools.factory.record import FAILED, FLASHED, STARTED, Entries, Record
from tools.factory.summary import sha256
from tools.server.client import Vendor, VendorError
from tools.server.commands import pick

LABELS = "labels.html"
_LIST = "batch.json"
_COLUMN = "serial"
_NAMED_AT_MOST = 10


@dataclass(frozen=True)
class Item:
    """One serial number of a batch, its image and the image's SHA-256."""

    serial: str
    image: Path
    sha256: str


def read_serials(path: Path) -> list[str]:
    """The serial numbers of a CSV file: its column "serial", or its first without a row that names one. FactoryError
    names the lines that are wrong, all of them up to ten."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            # A spreadsheet set to German or French writes semicolons.
            delimiter = ";" if ";" in file.readline() else ","
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter)
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(map(str.strip, row))]
    except OSError as error:
        raise FactoryError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise FactoryError(f"{path} is no CSV file in UTF-8: {error}") from error
    column = 0
    head = [cell.lower() for cell in rows[0][1]] if rows else []
    if _COLUMN in head:
        column = head.index(_COLUMN)
        rows = rows[1:]
    lines: dict[str, int] = {}
    wrong = []
    for number, row in rows:
        serial = row[column] if column < len(row) else ""
        if serial in lines:
            wrong.append(f"line {number} repeats {serial} of line {lines[serial]}")
            continue
        try:
            lines[settings.check_serial(serial)] = number
        except ValueError:
            wrong.append(f"line {number}: {serial!r} is no serial number")
    if wrong:
        rest = f"; and {len(wrong) - _NAMED_AT_MOST} more" if len(wrong) > _NAMED_AT_MOST else ""
        raise FactoryError(f"{path}: {'; '.join(wrong[:_NAMED_AT_MOST])}{rest}: nothing was made")
    if not lines:
        raise FactoryError(f"{path} holds no serial number")
    return list(lines)


def register(vendor: Vendor, wanted: str | None, serials: list[str], version_id: str | None = None) -> tuple[dict, int]:
    """Register the serial numbers under the product that `wanted` names (None: the only one there is); the product,
    and how many were new. All of them or none: FactoryError names those that are another product's, and a `version_id`
    that is none of the product's."""
    try:
        products = vendor.products()
        if wanted:
            product = pick("product", products, wanted)
        elif len(products) == 1:
            product = products[0]
        else:
            names = ", ".join(product["name"] for product in products) or "there is none yet"
            raise FactoryError(f"name the product with PRODUCT=… ({names})")
        if version_id and version_id not in [version["id"] for version in vendor.versions(product["templateId"])]:
            listing = ".venv/bin/python -m tools.server version list TEMPLATE"
            raise FactoryError(
                f"the server has no version {version_id} for {product['name']} (VERSION_ID=…): {listing}"
            )
        known = set(vendor.serials(product["id"]))
    except VendorError as error:
        raise FactoryError(f"the serial numbers are not registered: {error}") from error
    new = [serial for serial in serials if serial not in known]
    try:
        if new:
            vendor.add_serials(product["id"], new)
    except VendorError as error:
        other = " (they are another product's)" if error.status == 400 else ""
        raise FactoryError(f"the serial numbers are not registered: {error}{other}") from error
    return product, len(new)


def make(
    order: Order,
    serials: list[str],
    product: str,
    folder: Path,
    entries: Entries,
    progress: Callable[[int], None] = lambda done: None,
) -> int:
    """Write one image each, the label sheet, and last the list that makes it a batch; how many images were made.
    Images of boards that exist stay as they are: the record names their hash. OSError when the disk refuses."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = {item.serial: item for item in read_batch(folder)[1]} if (folder / _LIST).exists() else {}
    new = [serial for serial in serials if not (serial in kept and serial in entries.mac_of)]
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < len(new) * order.flash_bytes:
        raise FactoryError(
            f"{folder}: {len(new) * order.flash_bytes >> 20} MiB are needed, {free_bytes >> 20} are free"
        )
    items = {serial: kept[serial] for serial in serials if serial not in new}
    for done, serial in enumerate(new, 1):
        image = order.image(serial)
        path = folder / f"{serial}.bin"
        write_whole(path, image)
        items[serial] = Item(serial, path, sha256(image))
        progress(done)
    write_whole(folder / LABELS, labels.sheet(product, serials).encode())
    rows = [{"serial": serial, "image": f"{serial}.bin", "sha256": items[serial].sha256} for serial in serials]
    write_whole(folder / _LIST, json.dumps({"product": product, "boards": rows}, indent=1).encode() + b"\n")
    return len(new)


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
        record.add(item.serial, board.mac, item.sha256, STARTED)
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
        record.add(serial, board.mac, item.sha256, STARTED)
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
    record.add(item.serial, board.mac, item.sha256, FLASHED)
