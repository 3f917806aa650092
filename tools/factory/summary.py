"""What was made, for people: what lies where on the flash, and how full it is."""

import hashlib
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tools.arguments import shown
from tools.factory.image import used_bytes
from tools.factory.layout import APP_ADDRESS, BOOTLOADER_ADDRESS, TABLE_ADDRESS, partition_table, read_table
from tools.factory.order import Order

_BAR_CELLS = 10


def show(order: Order, serial: str, image: bytes, path: Path) -> None:
    """Print the summary of a flash image."""
    console = Console()
    table = Table(box=None, pad_edge=False)
    for title in ("address", "size", "partition", "holds", "full", "used"):
        table.add_column(title, justify="right" if title in ("address", "size", "used") else "left", no_wrap=True)
    for row in _rows(order, image):
        table.add_row(*row)
    console.print(table)
    for line in _lines(order, serial, image):
        # In one piece, whatever the terminal's width: people copy it.
        console.print(Text(shown(line)), soft_wrap=True)
    console.print(
        Text(f"{shown(path)} ({len(image):,} bytes) is ready: make flash PORT=… IMAGE={shown(path)}"), soft_wrap=True
    )


def sha256(image: bytes) -> str:
    """The hash by which records name an image."""
    return hashlib.sha256(image).hexdigest()


def _rows(order: Order, image: bytes) -> list[tuple[str, ...]]:
    parts, partitions = order.parts, read_table(image)
    version = f"MicroPython {parts.micropython}" if parts.micropython else "app"
    rows = [
        _row(BOOTLOADER_ADDRESS, TABLE_ADDRESS - BOOTLOADER_ADDRESS, "", "boot loader", len(parts.bootloader)),
        _row(TABLE_ADDRESS, 0x1000, "", "partition table", len(partition_table(partitions))),
    ]
    for label, _, _, address, size in partitions:
        held, used = "blank", None
        if address == APP_ADDRESS:
            held, used = version, len(parts.app)
        elif label == "vfs":
            held = f"littlefs, {len(order.files) + 2} files"
            used = used_bytes(image[address : address + size])
        elif label == "ota_1":
            held = "free"
        rows.append(_row(address, size, label, held, used))
    return rows


def _row(address: int, size: int, label: str, held: str, used: int | None) -> tuple[str, ...]:
    if used is None:
        return f"{address:#x}", f"{size:#x}", label, held, "", ""
    cells = round(_BAR_CELLS * used / size)
    full = f"{'█' * cells}{'░' * (_BAR_CELLS - cells)} {100 * used // size:3} %"
    return f"{address:#x}", f"{size:#x}", label, held, full, f"{used:,}"


def _lines(order: Order, serial: str, image: bytes) -> list[str]:
    config = order.config
    lines = [f"serial number {serial}, server {config['server']}"]
    names = ", ".join(network[0] for network in config.get("wifi", []))
    lines[0] += f", WiFi {names or 'by its owner, through the setup network'}"
    if order.app:
        lines.append(f"product code from {order.app}")
    if config.get("signing_keys"):
        lines.append(
            f"takes only firmware signed with key {', '.join(key[:16] + '…' for key in config['signing_keys'])}"
        )
    else:
        lines.append("takes firmware without a signature: no SIGNING_KEY was given")
    if "/state.json" in order.files:
        lines.append("knows the version it leaves the factory with: VERSION_ID was given")
    lines += [f"note: {note}" for note in order.notes]
    lines.append(f"SHA-256 {sha256(image)}")
    return lines
