"""What stands around the device: the published firmware, the server, and the truth about both."""

import contextlib
import copy
import io
import json
import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import espsecure
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from littlefs import LittleFS

from tools import factory
from tools.proof.reply import Reply, as_string, json_reply

SERIAL = "THERM00000000000001"
SLOT_BYTES = 0x10000
LAYOUT = [
    ("otadata", 1, 0, 0xD000, 0x2000),
    ("ota_0", 0, 0x10, 0x10000, SLOT_BYTES),
    ("ota_1", 0, 0x11, 0x20000, SLOT_BYTES),
    ("vfs", 1, 0x81, 0x30000, 0x10000),
]
PLACES = {label: (address, size) for label, _, _, address, size in LAYOUT}
FLASH_BYTES = 0x40000
V1, V2 = "1" * 32, "2" * 32
TRIALS_MAX = 3


@cache
def signing_key() -> tuple[bytes, str]:
    """A vendor's signing key, made anew for every run: PEM, and the digest by which a device knows it."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem = private.private_bytes(*form)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        key, digest = Path(folder) / "key.pem", Path(folder) / "digest"
        key.write_bytes(pem)
        with key.open("rb") as file:
            espsecure.digest_sbv2_public_key(file, str(digest))
        return pem, digest.read_bytes().hex()


def sign(image: bytes) -> bytes:
    """`image` as `espsecure sign-data --version 2` signs it with the `signing_key`."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        key, source, target = (Path(folder) / name for name in ("key.pem", "app.bin", "signed.bin"))
        key.write_bytes(signing_key()[0])
        source.write_bytes(image)
        with key.open("rb") as key_file, source.open("rb") as file:
            espsecure.sign_data("2", [key_file], str(target), False, False, None, [], [], file)
        return target.read_bytes()


def factory_fresh(image: bytes, **config: object) -> bytearray:
    """A small flash chip as it leaves the factory, `image` in ota_0, with these settings."""
    memory = bytearray(b"\xff" * FLASH_BYTES)
    table = factory.partition_table(LAYOUT)
    memory[0x8000 : 0x8000 + len(table)] = table
    address, _ = PLACES["ota_0"]
    memory[address : address + len(image)] = image
    address, size = PLACES["vfs"]
    memory[address : address + size] = factory.file_system(factory.own_files(SERIAL, "http://server", **config), size)
    return memory


def read_files(memory: bytearray) -> dict[str, bytes]:
    """The files on the flash, read by littlefs itself."""
    address, size = PLACES["vfs"]
    lfs = LittleFS(block_size=4096, block_count=size // 4096, mount=False)
    lfs.context.buffer[:] = memory[address : address + size]
    lfs.mount()
    files = {}
    for name in lfs.listdir("/"):
        with lfs.open("/" + name, "rb") as file:
            files["/" + name] = file.read()
    return files


@dataclass
class Server:
    """GadgetKeeper for one serial number, and the behaviour of the firmware it publishes: as a JSON string, or with
    `ranges` as it is, so that a download can go on where it stopped."""

    images: dict[str, bytes]
    target: str
    does: dict[str, str] = field(default_factory=dict)  # version: "hang", "crash", "offline" or "unsigned"
    thing: str | None = None
    name: str = ""
    key: str = ""
    current: str | None = None
    ranges: bool = False
    activations: int = 0
    properties: dict[str, Any] = field(default_factory=dict)
    phases: set[str] = field(default_factory=set)  # of all verdicts the device has reported
    log: list[str] = field(default_factory=list)

    def copy(self) -> "Server":
        return copy.deepcopy(self)

    def version_in(self, label: str, read) -> str | None:
        """Which published image the slot holds, byte for byte."""
        for version, image in self.images.items():
            if read(PLACES[label][0], len(image)) == image:
                return version
        return None

    def request(self, method: str, url: str, data, headers: dict) -> Reply:
        path = url.removeprefix("http://server/v1/things/").removesuffix(".json")
        self.log.append(f"{method} {path}")
        if path == f"activate/{SERIAL}":
            if self.thing is None:
                self.thing, self.name = "a" * 32, "Thermometer 1"
            self.activations += 1
            self.key = f"{self.activations:032x}"
            return json_reply({"thingId": self.thing, "apiKey": self.key})
        if headers.get("X-ApiKey") != self.key:
            return Reply(status_code=401)
        if method == "PUT" and path == self.thing:
            self.name = json.loads(data)["name"]
            return Reply(status_code=204)
        path = path.removeprefix(f"{self.thing}/")
        if path == "versions/target":
            return self._version(self.target)
        if path == "versions/current":
            return self._version(self.current) if self.current else Reply(status_code=404)
        if path == f"versions/{self.target}/firmware":
            return self._firmware(self.images[self.target], headers.get("Range"))
        if method == "PUT" and path.removeprefix("versions/") in self.images:
            self.current = path.removeprefix("versions/")
            return Reply(status_code=204)
        property_id = path.removeprefix("properties/").removesuffix("/value")
        if property_id not in ("temperature", "status"):
            return Reply(status_code=404)
        self.properties[property_id] = json.loads(data)
        if property_id == "status":
            self.phases.add(self.properties["status"]["phase"])
        return Reply(status_code=204)

    def _firmware(self, image: bytes, wanted: str | None) -> Reply:
        if not self.ranges:
            return Reply(as_string(image))
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        reply = Reply(image[start:], "application/octet-stream", 206 if wanted else 200)
        reply.headers["etag"] = '"one"'
        if wanted:
            reply.headers["content-range"] = f"bytes {start}-{len(image) - 1}/{len(image)}"
        return reply

    def _version(self, version: str) -> Reply:
        return json_reply({"id": version, "name": version[0], "description": None})


class Violation(Exception):
    """An invariant does not hold; the text says which."""


def check(memory: bytearray, server: Server, run, expected: str) -> None:
    """Look at flash and server from outside, after the device has become quiet. Violation when the design's invariants
    do not hold: `expected` is the version that should run now."""

    def read(address: int, size: int) -> bytes:
        return bytes(memory[address : address + size])

    if not run.quiet:
        raise Violation(f"I1: not quiet after {len(run.started)} boots")
    running = run.started[-1]
    version = server.version_in(running, read)
    if version is None:
        raise Violation(f"I3: {running} runs, and holds no published image")
    if version != expected:
        raise Violation(f"I6: version {version[0]} runs, it should be {expected[0]}")
    if None in run.versions:
        raise Violation(f"I3: {run.started[run.versions.index(None)]} was started, and held no published image")
    for failing, what in server.does.items():
        tries = run.versions.count(failing)
        if tries > (0 if what == "unsigned" else TRIALS_MAX):
            raise Violation(f"I3: version {failing[0]} is {what}, and was started {tries} times")
    files = read_files(memory)
    if files.get("/serial.txt") != SERIAL.encode() + b"\n":
        raise Violation(f"I5: the serial number is {files.get('/serial.txt')!r}")
    state = json.loads(files.get("/state.json", b"{}"))
    if state.get("versionId") not in (None, version):
        raise Violation(f"I2: the record claims version {state['versionId'][0]}, version {version[0]} runs")
    if state.get("apiKey") != server.key or state.get("thingId") != server.thing:
        raise Violation("the record does not hold the server's thing and key")
    if server.name != "ThermometerDevice":
        raise Violation(f'the thing is called "{server.name}"')
    if server.target == version and (state.get("versionId"), server.current) != (version, version):
        raise Violation(f"I6: record and server say {state.get('versionId')} and {server.current}")
    if "download" in server.phases:
        raise Violation("the device has taken for damaged what the server sent whole")
    verdict = server.properties.get("status")
    if verdict and (verdict["phase"], verdict["versionId"]) != (
        ("installed", version) if server.target == version else ("given up", server.target)
    ):
        raise Violation(f"the server was told {verdict}")
    if server.target != version and (server.current == server.target or not verdict):
        raise Violation("I6: the server believes in a version that does not run, or does not know why it does not")
