"""A release: one ESP32 app image that holds the whole product, see docs/release-format.md.

It is a MicroPython app with one more segment, for load address 0, which ESP-IDF's boot loader checks and does not
load. That segment is the bundle: a ROMFS with agent, product and manifest, and an index of its paths. The app
descriptor names product, release number and MicroPython, so that a device knows them from the first bytes.
"""

import binascii
import hashlib
import json
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from mpremote.romfs import VfsRomWriter

from tools import agent, espressif

PRODUCT = "Thermometer"
MICROPYTHON_LEAST = (1, 24)
"""Older ones lack the boot loader's rollback, `tls`, or the dates of certificates."""

LITTLEFS = 0x00020001
"""The latest file system that each MicroPython from `MICROPYTHON_LEAST` on mounts: littlefs 2.1 (up to 1.21: 2.0)."""

_HEADER_BYTES = 24
_SEGMENTS_AT = 1
_SEGMENTS_MAX = 16
_DESCRIPTOR_AT = 32
_VERSION = slice(_DESCRIPTOR_AT + 16, _DESCRIPTOR_AT + 48)
_PROJECT = slice(_DESCRIPTOR_AT + 48, _DESCRIPTOR_AT + 80)
_TEXT_BYTES = 32
_CHECKSUM_SEED = 0xEF
_ALIGNMENT = 16
_ROMFS_MAGIC = VfsRomWriter.ROMFS_HEADER
_INDEX_ENTRY = "<III"  # CRC-32 of the path, start in the segment, size
_FOLDER = 0xFFFFFFFF  # as a size
_MICROPYTHON = re.compile(rb"MicroPython v(\d+\.\d+\.\d+)")
_FROZEN_NAMES = re.compile(rb"(?:[A-Za-z0-9_/]+\.py\0){8,}")
_CA_PATH = "/ca.pem"
_APPS_KEPT = 4  # a search through all of a MicroPython takes 50 ms


class ReleaseError(Exception):
    """A release that cannot be made or read; the text says why and what to do."""


class ProductCodeError(ReleaseError):
    """A folder with product code that cannot become part of a release."""


@dataclass(frozen=True)
class Contents:
    """What a release is made of besides its MicroPython: `number` counts up; no release below `floor` is ever installed
    once this one has proven itself; `settings` replace the factory's; `ca` is a PEM file's content; `app` is a folder
    with the product's code in place of the thermometer's; `built_at` is in seconds since 2000, 0 for a release that
    does not tell."""

    number: int
    product: str = PRODUCT
    floor: int = 0
    settings: dict = field(default_factory=dict)
    ca: bytes | None = None
    app: Path | None = None
    built_at: int = 0


@dataclass(frozen=True)
class Release:
    """What is in a release image."""

    number: int
    product: str
    micropython: str
    manifest: dict
    files: dict[str, bytes]


def make_release(app: bytes, contents: Contents, source: bool = False) -> bytes:
    """Return the release image of this MicroPython app with these contents; with `source`, its code is not compiled,
    for runtimes without bytecode. ReleaseError for an app that no agent could live on."""
    micropython = check_micropython(app)
    return add_bundle(app, bundle(release_files(contents, micropython, source)), contents, micropython)


@lru_cache(_APPS_KEPT)
def check_micropython(app: bytes) -> str:
    """Return the version of the MicroPython in this app. ReleaseError when it is none, an old one, or one whose own
    boot.py or main.py would run in place of the agent."""
    found = _MICROPYTHON.search(app)
    if not found:
        raise ReleaseError("the app is no MicroPython: take an official image for the ESP32")
    version = found[1].decode()
    if tuple(map(int, version.split(".")[:2])) < MICROPYTHON_LEAST:
        least = ".".join(map(str, MICROPYTHON_LEAST))
        raise ReleaseError(f"the app is MicroPython {version}, and the agent needs {least} or newer")
    for names in _FROZEN_NAMES.findall(app):
        frozen = {"boot.py", "main.py"} & set(names.decode().split("\0"))
        if b"_boot.py\0" in names and frozen:
            raise ReleaseError(
                f"the app is a MicroPython with a {min(frozen)} of its own, which would run in place of the agent: "
                "take an official image for the ESP32"
            )
    return version


def release_files(contents: Contents, micropython: str, source: bool = False) -> dict[str, bytes]:
    """Return the bundle's files by path: agent and product, the manifest, the CA's certificates."""
    files = agent.source_files() if source else agent.compiled_files(micropython)
    app_name = "thermometer"
    if contents.app:
        app_name = contents.app.resolve().name
        for suffix in (".py", ".mpy"):
            files.pop(f"/thermometer{suffix}", None)
        product = _app_files(contents.app, micropython, source)
        taken = sorted((files.keys() | {"/manifest.json", _CA_PATH}) & product.keys())
        if taken:
            name = taken[0][1:].replace(".mpy", ".py")
            raise ProductCodeError(f"{contents.app}: the agent has a {name} of its own: rename yours")
        files |= product
    settings = dict(contents.settings)
    if contents.ca is not None:
        files[_CA_PATH] = contents.ca
        settings["ca"] = agent.RELEASE + _CA_PATH
    manifest: dict[str, object] = {
        "product": contents.product,
        "release": contents.number,
        "micropython": micropython,
        "app": app_name,
    }
    if contents.floor:
        manifest["floor"] = contents.floor
    if contents.built_at:
        manifest["built_at"] = contents.built_at
    manifest["littlefs"] = LITTLEFS
    if settings:
        manifest["settings"] = settings
    files["/manifest.json"] = json.dumps(manifest).encode()
    return files


def bundle(files: dict[str, bytes]) -> bytes:
    """Return the bundle of these files: a ROMFS, filled up to 4 bytes, an index of its paths, and their number."""
    tree: dict = {}
    for path, content in files.items():
        *folders, name = path.strip("/").split("/")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = content
    writer = VfsRomWriter()
    _write_folder(writer, tree)
    romfs = bytes(writer.finalise())
    starts = {path: start for path, start, _ in _records(romfs)}
    index = {path: (starts[path], len(content)) for path, content in files.items()}
    for path in files:
        folder = path.rpartition("/")[0]
        if folder:
            index[folder] = (0, _FOLDER)
    entries = [struct.pack(_INDEX_ENTRY, binascii.crc32(path.encode()), *place) for path, place in index.items()]
    if len({entry[:4] for entry in entries}) < len(entries):
        raise ReleaseError("two paths of the bundle have the same CRC-32: rename one of them")
    return romfs + bytes(-len(romfs) % 4) + b"".join(entries) + struct.pack("<I", len(entries))


def add_bundle(app: bytes, content: bytes, contents: Contents, micropython: str) -> bytes:
    """Return the app image with the bundle as one more segment, and its descriptor naming the release."""
    plain = espressif.read_image(app, "the app").data
    if plain[_SEGMENTS_AT] >= _SEGMENTS_MAX:
        raise ReleaseError(f"the app has {plain[_SEGMENTS_AT]} segments already, and {_SEGMENTS_MAX} are the most")
    if any(address == 0 and content.startswith(_ROMFS_MAGIC) for address, content in _segments(plain)):
        raise ReleaseError("the app is a release already: take the MicroPython that it was made of")
    image = bytearray(plain[: _segments_end(plain)])
    image[_SEGMENTS_AT] += 1
    image[_VERSION] = _text(f"{contents.number} {micropython}")
    image[_PROJECT] = _text(contents.product)
    image += struct.pack("<II", 0, len(content)) + content
    return seal(bytes(image))


def seal(image: bytes) -> bytes:
    """Return an image's header and segments with the checksum and the SHA-256 that belong behind them."""
    checksum = _CHECKSUM_SEED
    at = _HEADER_BYTES
    for _ in range(image[_SEGMENTS_AT]):
        size = struct.unpack_from("<I", image, at + 4)[0]
        for byte in _xor(image[at + 8 : at + 8 + size]):
            checksum ^= byte
        at += 8 + size
    padded = image[:at] + bytes(_ALIGNMENT - 1 - at % _ALIGNMENT) + bytes((checksum,))
    return padded + hashlib.sha256(padded).digest()


def read_release(image: bytes, name: str) -> Release:
    """Return what is in a release image. ReleaseError when it is none; `name` says whose it is."""
    try:
        plain = espressif.read_image(image, name).data
    except espressif.ImageError as error:
        raise ReleaseError(str(error)) from error
    number, _, micropython = plain[_VERSION].split(b"\0")[0].decode("ascii", "replace").partition(" ")
    for address, content in _segments(plain):
        if address == 0 and content.startswith(_ROMFS_MAGIC) and number.isdigit():
            product = plain[_PROJECT].split(b"\0")[0].decode("ascii", "replace")
            files = dict(_files(content))
            return Release(int(number), product, micropython, json.loads(files["/manifest.json"]), files)
    raise ReleaseError(f"{name} is no release: there is no bundle in it (make one with make publish)")


def _app_files(folder: Path, micropython: str, source: bool) -> dict[str, bytes]:
    """Return the product code in the folder; the module of the folder's own name is what the agent calls."""
    if not (folder / f"{folder.resolve().name}.py").is_file():
        raise ProductCodeError(f"{folder} holds no {folder.resolve().name}.py, the module that the agent calls")
    files = {}
    for path in sorted(folder.rglob("*")):
        place = "/" + path.relative_to(folder).as_posix()
        if path.suffix == ".py" and not source:
            try:
                compiled = agent.compile_module(path.read_bytes(), place[1:], micropython)
            except agent.AgentFilesError as error:
                raise ProductCodeError(str(error)) from error
            files[place.removesuffix(".py") + ".mpy"] = compiled
        elif path.is_file() and "__pycache__" not in path.parts:
            files[place] = path.read_bytes()
    return files


def _write_folder(writer: VfsRomWriter, tree: dict) -> None:
    for name, content in sorted(tree.items()):
        if isinstance(content, dict):
            writer.opendir(name)
            _write_folder(writer, content)
            writer.closedir()
        else:
            writer.mkfile(name, content)


def _files(romfs: bytes):
    """Yield each file's path and content."""
    for path, start, end in _records(romfs):
        yield path, romfs[start:end]


def _records(romfs: bytes):
    """Yield path, start and end of each file's content in a ROMFS (MicroPython, extmod/vfs_rom.c)."""
    at, size = _number(romfs, len(_ROMFS_MAGIC))
    yield from _members(romfs, at, at + size, "")


def _members(romfs: bytes, at: int, end: int, folder: str):
    while at < end:
        after_kind, kind = _number(romfs, at)
        start, size = _number(romfs, after_kind)
        at = start + size
        if kind not in (VfsRomWriter.ROMFS_RECORD_KIND_DIRECTORY, VfsRomWriter.ROMFS_RECORD_KIND_FILE):
            continue
        name_at, name_size = _number(romfs, start)
        inside = name_at + name_size
        path = f"{folder}/{romfs[name_at:inside].decode()}"
        if kind == VfsRomWriter.ROMFS_RECORD_KIND_DIRECTORY:
            yield from _members(romfs, inside, at, path)
        else:
            after_kind, _ = _number(romfs, inside)
            content_at, content_size = _number(romfs, after_kind)
            yield path, content_at, content_at + content_size


def _number(romfs: bytes, at: int) -> tuple[int, int]:
    """Return where the number that begins at `at` ends, and the number."""
    value = 0
    while True:
        value = value << 7 | romfs[at] & 0x7F
        at += 1
        if romfs[at - 1] < 0x80:
            return at, value


def _segments(image: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield each segment's load address and content."""
    at = _HEADER_BYTES
    for _ in range(image[_SEGMENTS_AT]):
        address, size = struct.unpack_from("<II", image, at)
        yield address, image[at + 8 : at + 8 + size]
        at += 8 + size


def _segments_end(image: bytes) -> int:
    at = _HEADER_BYTES
    for _ in range(image[_SEGMENTS_AT]):
        at += 8 + struct.unpack_from("<I", image, at + 4)[0]
    return at


def _text(value: str) -> bytes:
    encoded = value.encode("ascii")
    if len(encoded) >= _TEXT_BYTES:
        raise ReleaseError(f"{value!r} is longer than the {_TEXT_BYTES - 1} characters that an image has room for")
    return encoded.ljust(_TEXT_BYTES, b"\0")


def _xor(data: bytes) -> bytes:
    """Return a few bytes that xor to the same as all of `data`."""
    number = int.from_bytes(data, "little")
    while (size := -(-number.bit_length() // 8)) > _ALIGNMENT:
        half = 8 * -(-size // 2)
        number = number >> half ^ number & (1 << half) - 1
    return number.to_bytes(_ALIGNMENT, "little")
