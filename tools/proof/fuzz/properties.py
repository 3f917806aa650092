"""What is generated, and what must hold for it. Needs the device's code importable (`make_importable`)."""

import base64
import contextlib
import functools
import hashlib
import io
import json
import re
import struct
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent.console import Console
from agent.device import Device
from agent.errors import AgentError
from agent.loop import keep_in_step
from agent.record import Pending, Version
from agent.settings import table
from agent.settings_reader import load_settings
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils
from hypothesis import strategies as st
from ota.arming import _check
from ota.decoder import open_body
from ota.header import check_header
from ota.slots import Slots, arm
from ota.update import Update

from tools.proof import in_process, rounds, scratch
from tools.proof.fuzz.patches import check_patch, patches
from tools.proof.fuzz.signing import BLOCK_BYTES, SECTOR_BYTES, SeededKey
from tools.proof.reply import Reply, json_reply
from tools.twin import hardware, small_chip
from tools.twin import image as chip_image
from tools.twin.image import make_image

_FREE_SLOT = 0x20000
_CHIP_REVISION = 301
_SIGNED_ALIGNED_BYTES = 8000 + -len(make_image(2, size_bytes=8000)) % SECTOR_BYTES  # ends with a sector


@dataclass(frozen=True)
class Property:
    """Generated input, and the check that must not fail for it. `share` is its part of all cases."""

    strategy: st.SearchStrategy
    check: Callable[[object], None]
    share: int


# Mutations: what bit rot, careless tools and attackers do to bytes. A place is a share of the length, or near a field.

_FIELDS = (0, 1, 12, 15, 23, 24, 28, 32, 36, 40, 288, 292)
_WORDS = (0, 1, 3, 4, 255, 0x7FFFFFFC, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFC, 0xFFFFFFFF)
_place = st.one_of(st.sampled_from(_FIELDS), st.integers(0, 1 << 16), st.integers(-BLOCK_BYTES * 4, -1))
_change = st.one_of(
    st.tuples(st.just("flip"), _place, st.integers(0, 7)),
    st.tuples(st.just("byte"), _place, st.integers(0, 255)),
    st.tuples(st.just("word"), _place, st.one_of(st.sampled_from(_WORDS), st.integers(0, 0xFFFFFFFF))),
    st.tuples(st.just("cut"), _place, st.just(0)),
    st.tuples(st.just("grow"), st.just(0), st.integers(1, 9000)),
    st.tuples(st.just("swap"), _place, _place),
)
_changes = st.lists(_change, max_size=4)


def mutate(data: bytes, changes: list) -> bytes:
    """The bytes after these changes."""
    for kind, place, value in changes:
        if not data:
            break
        at = place % len(data)
        if kind == "flip":
            data = data[:at] + bytes([data[at] ^ 1 << value]) + data[at + 1 :]
        elif kind == "byte":
            data = data[:at] + bytes([value]) + data[at + 1 :]
        elif kind == "word":
            data = data[:at] + struct.pack("<I", value)[: len(data) - at] + data[at + 4 :]
        elif kind == "cut":
            data = data[:at]
        elif kind == "grow":
            data += bytes(value)
        else:
            other = value % len(data)
            piece = data[other : other + 64]
            data = data[:at] + piece[: len(data) - at] + data[at + len(piece) :]
    return data


@functools.cache
def _image(seed: int, size: int) -> bytes:
    return make_image(seed, size_bytes=size)


_images = st.builds(_image, st.sampled_from([1, 2, 3]), st.sampled_from([0, 100, 3500, 9000, _SIGNED_ALIGNED_BYTES]))


# Headers

_SECURE = make_image(1, size_bytes=300, secure=1)
_FLOOR = 1


def _update(image: bytes, trusted: list[str], revision: int | None) -> Update:
    """An update of a board that runs this image, whose floor is release 1."""
    partition = small_chip.power_on(image=image)
    device = Device(rounds.QuickBoard(), Console(), "/nowhere/", "/nowhere/")
    load_settings(device)
    device.settings.signing_keys = trusted
    device.record.floor = _FLOOR
    device.record.pending = Pending(rounds.GOOD, "ota_1")
    slots = Slots(partition)
    update = Update(device, Version(rounds.GOOD, "3"), slots.running, slots.named("ota_1"), device.record.pending)
    update.chip_revision = revision
    return update


def _check_header(example) -> None:
    head, changes, size_bytes, revision = example
    head = mutate(head, changes)
    update = _update(_SECURE, [], revision)
    operations = hardware.flash.operations
    try:
        check_header(update, memoryview(head), size_bytes)
    except AgentError:
        return
    finally:
        assert hardware.flash.operations == operations
    assert len(head) >= 288 and head[0] == 0xE9 and 1 <= head[1] <= 16 and head[12:14] == b"\0\0" and head[23] == 1
    assert head[32:36] == b"\x32\x54\xcd\xab" and struct.unpack_from("<I", head, 36)[0] >= 1
    assert revision is None or struct.unpack_from("<H", head, 15)[0] <= revision
    assert struct.unpack_from("<I", head, 28)[0] <= small_chip.SLOT_BYTES >= size_bytes
    version = head[48:80].split(b"\0", 1)[0]
    assert (found := re.fullmatch(rb"(\d+) (\d+)\.(\d+)(\..*)?", version, re.DOTALL)), version
    assert int(found[1]) >= _FLOOR and (int(found[2]), int(found[3])) >= (1, 24)
    assert head[80:112].split(b"\0", 1)[0] == b"Thermometer"


def _header_with(version: bytes, product: bytes) -> bytes:
    head = make_image(2, secure=1)[:288]
    return head[:48] + version[:32].ljust(32, b"\0") + product[:32].ljust(32, b"\0") + head[112:]


_numbers = st.one_of(st.integers(0, 200), st.integers(0, 10**31)).map(lambda number: str(number).encode())
_versions = st.one_of(
    st.lists(st.one_of(_numbers, st.sampled_from([b" ", b".", b"-", b"\xb2", b"x"])), max_size=8).map(b"".join),
    st.tuples(_numbers, _numbers, _numbers).map(lambda parts: parts[0] + b" " + b".".join(parts[1:])),
    st.binary(max_size=32),
)
_products = st.one_of(st.just(b"Thermometer"), st.sampled_from([b"", b"Thermometer\xff", b"Relay", b"x" * 32]))
_heads = st.tuples(
    st.one_of(
        st.just(make_image(2, secure=1)[:288]), st.builds(_header_with, _versions, _products), st.binary(max_size=320)
    ),
    _changes,
    st.one_of(st.integers(0, 1 << 17), st.just(1 << 31)),
    st.one_of(st.none(), st.integers(0, 65535)),
)


# Whole images


def _check_image(example) -> None:
    base, changes, is_rehashed, knows_size = example
    data = mutate(base, changes)
    if is_rehashed and len(data) > 32:
        data = data[:-32] + hashlib.sha256(data[:-32]).digest()
    if _is_taken(data, [], knows_size):
        why = chip_image.problem(hardware.flash, _FREE_SLOT, small_chip.SLOT_BYTES)
        assert why in (None, "wrong checksum", "needs an older chip revision"), why
        _arm(why)


_whole = st.tuples(_images, _changes, st.booleans(), st.booleans())


# Signed images

_KEYS: list[SeededKey] = []


def _keys() -> list[SeededKey]:
    if not _KEYS:
        _KEYS.extend(SeededKey(seed) for seed in (1, 2))
    return _KEYS


@functools.cache
def _signed(image: bytes, order: tuple) -> bytes:
    keys = _keys()
    signed = keys[order[0]].sign(image)
    padded, digest = signed[:-SECTOR_BYTES], hashlib.sha256(signed[:-SECTOR_BYTES]).digest()
    return padded + b"".join(keys[at].block(digest) for at in order).ljust(SECTOR_BYTES, b"\xff")


def _check_signed(example) -> None:
    image, order, changes, fitted, trusted = example
    data = mutate(_signed(image, tuple(order)), changes)
    for number in fitted:  # as one would who knows how: their checksum fits again
        start = len(data) - SECTOR_BYTES + number * BLOCK_BYTES
        if start >= 0:
            crc = struct.pack("<I", zlib.crc32(data[start : start + 1196]))
            data = data[: start + 1196] + crc + data[start + 1200 :]
    keys = [_keys()[at] for at in trusted]
    taken = _is_taken(data, [key.digest for key in keys], True)
    if not changes and not fitted:
        assert taken == any(at in order for at in trusted)
    if taken:
        assert any(_is_signed(data, key) for key in keys), "armed without a signature"
        _arm(chip_image.problem(hardware.flash, _FREE_SLOT, small_chip.SLOT_BYTES))


def _is_signed(data: bytes, key: SeededKey) -> bool:
    """What `cryptography` says: a block of the last sector holds the key's signature of what is before it."""
    public = rsa.RSAPublicNumbers(65537, key.modulus).public_key()
    padded, blocks = data[:-SECTOR_BYTES], data[-SECTOR_BYTES:]
    sha256 = hashes.SHA256()
    for start in range(0, 3 * BLOCK_BYTES, BLOCK_BYTES):
        number = blocks[start + 812 : start + 1196][::-1]
        how = padding.PSS(padding.MGF1(sha256), 32)
        with contextlib.suppress(InvalidSignature):
            public.verify(number, hashlib.sha256(padded).digest(), how, utils.Prehashed(sha256))
            return True
    return False


_signed_images = st.tuples(
    _images,
    st.lists(st.sampled_from([0, 1]), min_size=1, max_size=3),
    _changes,
    st.lists(st.integers(0, 2), max_size=2),
    st.lists(st.sampled_from([0, 1]), min_size=1, max_size=2, unique=True),
)


_RUNNING = make_image(1, size_bytes=300)


def _is_taken(data: bytes, trusted: list[str], knows_size: bool) -> bool:
    """True when the agent's check from flash passes; only its own errors may come out of it."""
    data = data[: small_chip.SLOT_BYTES]
    update = _update(_RUNNING, trusted, _CHIP_REVISION)
    hardware.flash.program(_FREE_SLOT, data)
    try:
        _check(update, len(data) if knows_size else None)
    except AgentError:
        return False
    return True


def _arm(why: str | None) -> None:
    """What passed the agent's check is armed if the chip has nothing against it, and otherwise is not."""
    partition = rounds.QuickBoard.Partition
    slots = Slots(partition)
    try:
        arm(partition, slots.named("ota_1"))
    except AgentError:
        assert why
    assert (slots.chosen().label == "ota_1") == (why is None), why


# Bodies


def _check_body(example) -> None:
    text, changes, piece, has_length, bounded = example
    changed = mutate(text, changes)
    expected = _firmware_in(changed)
    try:
        body = open_body(Reply(changed, piece=piece, length=has_length, bounded=bounded))
        data = _read(body)
    except AgentError:
        assert changes or expected is None, "sound JSON refused"
        return
    if expected is not None:
        assert data == expected


def _firmware_in(text: bytes) -> bytes | None:
    """What Python's own readers find; None when they find nothing that is beyond doubt."""
    try:
        found = json.loads(text, object_pairs_hook=_members)
        if isinstance(found, dict):
            found = found["firmware"]
        return base64.b64decode(found, validate=True) if isinstance(found, str) else None
    except (ValueError, KeyError, RecursionError):
        return None


def _members(pairs: list) -> dict:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a name stands twice")
    return dict(pairs)


def _read(body) -> bytes:
    data = b""
    view = memoryview(bytearray(700))
    while count := body.readinto(view):
        data += view[:count]
        assert len(data) < 1 << 20
    body.finish()
    return data


_names = st.sampled_from(["id", "name", "description", "a", "firm", "x" * 40])
_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_names, inner, max_size=3)),
    max_leaves=6,
)


def _as_text(firmware: bytes, before: dict, after: dict, in_object: bool, indent: int | None, escapes: bool) -> bytes:
    value: object = base64.b64encode(firmware).decode()
    if in_object:
        value = {**before, "firmware": value, **{name: after[name] for name in after if name not in before}}
    text = json.dumps(value, indent=indent).encode()
    return text.replace(b"/", b"\\/").replace(b"+", b"\\u002b") if escapes else text


_members_of = st.dictionaries(_names, _json, max_size=3)
_texts = st.builds(
    _as_text,
    st.binary(max_size=3000),
    _members_of,
    _members_of,
    st.booleans(),
    st.sampled_from([None, 1]),
    st.booleans(),
)
_bodies = st.tuples(
    st.one_of(_texts, st.binary(max_size=200)), _changes, st.integers(1, 1100), st.booleans(), st.booleans()
)


# The device's own files, through whole rounds of the agent

_FOREIGN = re.compile(r"\[[A-Z]\w+\]")


def _answer(method: str, url: str, data: bytes | None, headers: dict) -> Reply:
    """A server where all is well."""
    if "/activate/" in url:
        return json_reply({"thingId": "c" * 32, "apiKey": "d" * 32})
    if url.endswith("/target.json"):
        return json_reply({"id": rounds.GOOD, "name": "3"})
    if "/firmware" in url:
        return Reply(_GOOD_IMAGE, "application/octet-stream")
    return Reply(b"", status_code=404 if url.endswith("/current.json") else 204)


_GOOD_IMAGE = make_image(3)
_OLD_IMAGE = make_image(9)


def _rounds(name: str, content: bytes, count: int) -> tuple[str, bool]:
    """A device with this file lives through rounds of the agent; its console, and whether it armed the firmware."""
    heard = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(heard), _world(folder):
        device = rounds.start("http://server")
        hardware.flash.erase(_FREE_SLOT)
        hardware.flash.program(_FREE_SLOT, _OLD_IMAGE)
        path = Path(device.root) / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        for _ in range(count):
            try:
                keep_in_step(device)
            except hardware.PowerLoss:
                break
        armed = Slots(device.board.Partition).chosen().label == "ota_1"
        if armed:
            assert hardware.flash.read(_FREE_SLOT, len(_GOOD_IMAGE)) == _GOOD_IMAGE, "armed something else"
    console = heard.getvalue()
    assert not _FOREIGN.search(console), console
    return console, armed


@contextlib.contextmanager
def _world(folder: str):
    """The server above, and a folder for the device's files."""
    kept, scratch.base = scratch.base, folder + "/"
    in_process.serve(_answer)
    try:
        yield
    finally:
        in_process.stop()
        scratch.base = kept


def _check_state(example) -> None:
    state, changes = example
    content = mutate(json.dumps(state).encode(), changes)
    console, armed = _rounds("state.json", content, 5)
    assert armed or "has failed here" in console or "in step with" in console, console


_GONE = object()
_NUMBERS = [-1, 0, 1, 3, 9000, 1 << 31, 1 << 70, True, 1.5]
_ODD = [None, "", "x", "a/b", "\r\nX: y", "x" * 65, "\u00e4", [], [1], {}, {"a": 1}, *_NUMBERS, _GONE]
_KINDS: dict[str, list] = {
    "slot": ["ota_0", "ota_1", "ota_7", "otadata", "vfs"],
    "phase": ["download", "armed", "rolled back", "installed", "given up", "left"],
    "versionId": ["1" * 32, "2" * 32, rounds.GOOD],
    "etag": ['"one"', 'W/"one"', "one", '"' + "x" * 200 + '"'],
    "wifi": [[["twin", "x"]], [["twin"]], [[1, 2]], ["ab"], [["a", "b", ["1.2.3.4"]]], [[]], [{}], [None]],
    "server": ["http://x", "https://x", "http://", "x", "http://x:y"],
    "signing_keys": [["0" * 64], ["0" * 63], [1], ["0" * 64] * 4],
    "head": ["0" * 64, "0" * 63, "x" * 64, "." * 64, _OLD_IMAGE[:32].hex()],
    "product": ["Thermometer", "Relay"],
    "settings": [{"server": "http://x"}, {"wifi": []}, {"ca": "/release/ca.pem"}, {"signing_keys": ["0" * 64]}],
}


def _with_odd_members(record: dict) -> st.SearchStrategy:
    """The record, with some of its members replaced, or gone."""
    # One flat list to choose from: nested choices are drawn much less evenly.
    changes = [(name, value) for name in record for value in [*_KINDS.get(name, []), *_ODD]]
    any_change = st.one_of(
        st.sampled_from(changes), st.sampled_from(changes), st.tuples(st.sampled_from([*record]), _json)
    )
    return st.lists(any_change, min_size=1, max_size=3).map(
        lambda odd: {name: value for name, value in {**record, **dict(odd)}.items() if value is not _GONE}
    )


_VERDICT = {"phase": "given up", "versionId": rounds.GOOD, "attempt": 1, "code": "wrong_hash"}
_UPDATE = {
    "versionId": rounds.GOOD,
    "slot": "ota_1",
    "attempts": 1,
    "phase": "armed",
    "image": "0" * 32,
    "size": 9000,
}
_updates = st.one_of(
    _with_odd_members({**_UPDATE, "etag": '"one"', "head": _OLD_IMAGE[:32].hex(), "phase": "download"}),
    _with_odd_members(_UPDATE),
    _with_odd_members({**_UPDATE, "phase": "rolled back", "code": "rolled_back"}),
    _json,
)
_STATE = {
    "thingId": "a" * 32,
    "apiKey": "b" * 32,
    "renamed": True,
    "confirmed": True,
    "versionId": "1" * 32,
    "slot": "ota_0",
    "image": "01" * 16,
    "quarantined": "2" * 32,
    "day": 9824,
    "downloads": 3,
    "verdict": _VERDICT,
    "time": 0,
    "server": "http://server",
    "signed": False,
    "sensors": "28ff010203040506",
    "previousId": "4" * 32,
    "previousImage": "02" * 16,
    "floor": 0,
}
_states = st.tuples(
    st.one_of(
        _updates.map(lambda update: {**_STATE, "update": update}),
        st.tuples(_with_odd_members(_STATE), _updates).map(lambda drawn: {**drawn[0], "update": drawn[1]}),
        st.tuples(_with_odd_members(_STATE), _with_odd_members(_VERDICT)).map(
            lambda drawn: {**drawn[0], "verdict": drawn[1]}
        ),
        _json,
    ),
    st.one_of(st.just([]), st.just([]), _changes),
)


def _check_config(example) -> None:
    settings, changes = example
    _rounds("config.json", mutate(json.dumps(settings).encode(), changes), 2)


_DEFAULTS = {setting.name: setting.default for setting in table()}
_configs = st.tuples(st.one_of(_with_odd_members(_DEFAULTS), _json), st.one_of(st.just([]), st.just([]), _changes))

PROPERTIES = {
    "heads": Property(_heads, _check_header, 30),
    "images": Property(_whole, _check_image, 25),
    "signatures": Property(_signed_images, _check_signed, 15),
    "bodies": Property(_bodies, _check_body, 20),
    "patches": Property(patches, check_patch, 20),
    "state.json": Property(_states, _check_state, 5),
    "config.json": Property(_configs, _check_config, 5),
}
