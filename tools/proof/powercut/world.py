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

from tools import factory
from tools.proof.reply import Reply, as_string, json_reply
from tools.twin.files import read_files
from tools.twin.flash import Flash

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
V1, V2, V3 = "1" * 32, "2" * 32, "3" * 32
HOME = "http://server"
TRIALS_MAX = 3
REFUSED = ("unsigned", "foreign", "damaged", "bundle")
"""What a version does that must not be started once: it fails a check."""


@cache
def signing_key(name: str) -> tuple[bytes, str]:
    """A vendor's signing key, made anew for every run: PEM, and the digest by which a device knows it."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem = private.private_bytes(*form)
    public = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        key, digest = Path(folder) / "key.pem", Path(folder) / "digest"
        key.write_bytes(private.public_key().public_bytes(*public))  # a private one is checked first, which takes long
        with key.open("rb") as file:
            espsecure.digest_sbv2_public_key(file, str(digest))
        return pem, digest.read_bytes().hex()


@cache
def sign(image: bytes, name: str) -> bytes:
    """`image` as `espsecure sign-data --version 2` signs it with the `signing_key` of this name."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        key, source, target = (Path(folder) / file for file in ("key.pem", "app.bin", "signed.bin"))
        key.write_bytes(signing_key(name)[0])
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
    memory[address : address + size] = factory.file_system(factory.own_files(SERIAL, HOME, **config), size)
    return memory


@dataclass
class Server:
    """GadgetKeeper for one serial number, and the behaviour of the firmware it publishes: as a JSON string, or with
    `ranges` as it is, so that a download can go on where it stopped; with a `patch` as that, for whoever runs the
    release `patch_base` (its entity tag). `homes` are the versions that call it elsewhere
    than at HOME."""

    images: dict[str, bytes]
    target: str
    does: dict[str, str] = field(default_factory=dict)  # version: how it behaves, see `rig`, or one of REFUSED
    homes: dict[str, str] = field(default_factory=dict)
    thing: str | None = None
    name: str = ""
    key: str = ""
    current: str | None = None
    ranges: bool = False
    patch: bytes = b""
    patch_base: str = ""
    patches_given: int = 0
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

    def has_checked(self, label: str, read) -> bool:
        """Whether the slot holds a published image that passes every check."""
        version = self.version_in(label, read)
        return version is not None and self.does.get(version) not in REFUSED

    def request(self, method: str, url: str, data, headers: dict) -> Reply:
        path = url.partition("/v1/things/")[2].removesuffix(".json")
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
            return self._firmware(self.images[self.target], headers)
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

    def _firmware(self, image: bytes, headers: dict) -> Reply:
        if not self.ranges:
            return Reply(as_string(image))
        is_patch = self.patch and "A-IM" in headers and headers["If-None-Match"] == f'"{self.patch_base}"'
        body = self.patch if is_patch else image
        self.patches_given += bool(is_patch)
        wanted = headers.get("Range")
        first, _, last = wanted.removeprefix("bytes=").partition("-") if wanted else ("0", "", "")
        start, end = int(first), min(int(last) + 1, len(body)) if last else len(body)
        reply = Reply(body[start:end], "application/octet-stream", 226 if is_patch else 206 if wanted else 200)
        reply.headers["etag"] = '"one"'
        if is_patch:
            reply.headers["im"] = "gkp, range" if wanted else "gkp"
        if wanted:
            reply.headers["content-range"] = f"bytes {start}-{end - 1}/{len(body)}"
        return reply

    def _version(self, version: str) -> Reply:
        return json_reply({"id": version, "name": version[0], "description": None})


class Violation(Exception):
    """An invariant does not hold; the text says which."""


def check(memory: bytearray, server: Server, run, before: str, after: str) -> None:
    """Look at flash and server from outside, after the device has become quiet. Violation when the design's invariants
    do not hold: it ran `before`, and `after` is the version that should run now."""

    def read(address: int, size: int) -> bytes:
        return bytes(memory[address : address + size])

    if not run.quiet:
        raise Violation(f"I1: not quiet after {len(run.started)} boots")
    running = run.started[-1]
    version = server.version_in(running, read)
    if version is None:
        raise Violation(f"I3: {running} runs, and holds no published image")
    told = server.properties.get("status", {})
    expected = before if _never_started(run, told, "crash" in server.does.values()) else after
    if version != expected:
        raise Violation(f"I6: version {version[0]} runs, it should be {expected[0]}")
    _check_starts(server, run)
    for who, host in run.hosts:
        if host != server.homes.get(who or "", HOME):
            raise Violation(f"I9: {who and who[0]} has called {host}")
    files = read_files(Flash(io.BytesIO(memory)))
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
    if "/left.txt" in files:
        raise Violation("boot.py's trace of a release that was left is still there")
    if "download" in server.phases and server.does.get(server.target) != "damaged":
        raise Violation("the device has taken for damaged what the server sent whole")
    _check_told(server, told, version)


def _never_started(run, told: dict, dark: bool) -> bool:
    """Whether the version was given up because power failed between the boot loader's start of its trial and boot.py's
    trace of that: then, and only then, nobody can know whether it would ever come as far as boot.py."""
    given_up = told.get("phase") in ("given up", "left")
    if run.untraced and run.untraced[-1] and not given_up:
        raise Violation("I3: a trial that did not come as far as boot.py is made again")
    cut_there = any(run.untraced)
    if told.get("code") == "never_started" and not cut_there and not dark:
        raise Violation("I6: given up as never started, and it had left its trace")
    return given_up and cut_there and told.get("code") == "never_started"


def _check_starts(server: Server, run) -> None:
    """Nothing that fails a check is ever started, nothing that fails its trials too often."""
    if run.slots.problem:
        raise Violation(f"I3: {run.slots.problem}")
    if None in run.versions:
        raise Violation(f"I3: {run.started[run.versions.index(None)]} was started, and held no published image")
    for failing, what in server.does.items():
        most = 0 if what in REFUSED else 1 + run.unknowable if what == "crash" else TRIALS_MAX
        tries = run.versions.count(failing)
        if what != "decay" and tries > most:
            raise Violation(f"I3: version {failing[0]} is {what}, and was started {tries} times")


def _check_told(server: Server, told: dict, version: str) -> None:
    if told:
        phases = ("installed",) if server.target == version else ("given up", "left")
        if told["phase"] not in phases or told["versionId"] != server.target:
            raise Violation(f"the server was told {told}")
    if server.target != version and (server.current == server.target or not told):
        raise Violation("I6: the server believes in a version that does not run, or does not know why it does not")
