"""Signatures: what the agent takes, Espressif's espsecure takes, and nothing else; on CPython and on the real VM."""

import hashlib
import io
import os
import random
import struct
import zlib
from pathlib import Path

import espsecure
import esptool
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils

from host_tests.fakes.home import Home, is_done
from host_tests.unit import vm
from host_tests.unit.judge import verdict
from tools import firmware
from tools.twin.image import make_image

SIGNATURES = 4096  # the size of the sector they are in
CASES = int(os.environ.get("SIGNATURE_CASES", "48"))  # `make fuzz` tries more
DIGEST, MODULUS, SIGNATURE, CRC = 4, 36, 812, 1196  # where they stand in a block


class Key:
    """A vendor's signing key, in the forms that espsecure takes and gives."""

    def __init__(self, folder: Path, name: str) -> None:
        self.private = rsa.generate_private_key(public_exponent=65537, key_size=3072)
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(
            self.private.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        self.public_path = folder / f"{name}.pub.pem"
        self.public_path.write_bytes(
            self.private.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        self.block = sign(b"", folder, self)[MODULUS - SIGNATURES :][: SIGNATURE - MODULUS]
        digest = folder / f"{name}.digest"
        with self.path.open("rb") as file:
            espsecure.digest_sbv2_public_key(file, str(digest))
        self.digest = digest.read_bytes().hex()


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> list[Key]:
    folder = tmp_path_factory.mktemp("keys")
    return [Key(folder, f"key{number}") for number in range(3)]


def sign(image: bytes, folder: Path, *keys: Key) -> bytes:
    """`image` as `espsecure sign-data --version 2` signs it."""
    source, target = folder / "unsigned.bin", folder / "signed.bin"
    source.write_bytes(image)
    files = [key.path.open("rb") for key in keys]
    try:
        with source.open("rb") as file:
            espsecure.sign_data("2", files, str(target), False, False, None, [], [], file)
    finally:
        for opened in files:
            opened.close()
    return target.read_bytes()


def espsecure_takes(image: bytes, key: Key) -> bool:
    data = io.BytesIO(image)
    try:
        with key.public_path.open("rb") as file:
            espsecure.verify_signature("2", False, None, file, data)
    except esptool.FatalError:
        return False
    return True


def reseal(image: bytes, at: int, value: bytes) -> bytes:
    """`image` with `value` at `at` in its first signature block, whose CRC fits again."""
    start = len(image) - SIGNATURES
    block = bytearray(image[start : start + 1216])
    block[at : at + len(value)] = value
    block[CRC : CRC + 4] = struct.pack("<I", zlib.crc32(block[:CRC]))
    return image[:start] + bytes(block) + image[start + 1216 :]


def flip(data: bytes, at: int, bit: int = 0) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def test_image_signed_by_espressifs_tool_is_taken_with_any_trusted_key(keys, tmp_path):
    image = sign(make_image(2), tmp_path, keys[0])
    assert verdict(image, [keys[0].digest]) == "ok"
    assert verdict(image, [keys[1].digest, keys[2].digest, keys[0].digest]) == "ok"
    both = sign(make_image(2), tmp_path, keys[1], keys[2])
    assert verdict(both, [keys[2].digest]) == "ok"
    assert verdict(image, []) == "ok", "a device that asks for no signature takes signed images as well"


def test_unsigned_image_is_refused_once_a_key_is_trusted(keys):
    assert verdict(make_image(2), [keys[0].digest]) == "no_signature"
    padded = make_image(2, size_bytes=11944) + b"\xff" * SIGNATURES
    assert len(padded) % SIGNATURES == 0
    assert verdict(padded, [keys[0].digest]) == "no_signature"


def test_foreign_key_is_refused(keys, tmp_path):
    assert verdict(sign(make_image(2), tmp_path, keys[1]), [keys[0].digest]) == "unknown_key"


def test_signature_of_another_image_is_refused(keys, tmp_path):
    one, other = (sign(make_image(seed), tmp_path, keys[0]) for seed in (2, 3))
    assert verdict(one[:-SIGNATURES] + other[-SIGNATURES:], [keys[0].digest]) == "wrong_hash"
    # The attacker makes the block say that it is for this image.
    mixed = one[:-SIGNATURES] + other[-SIGNATURES:]
    mixed = reseal(mixed, DIGEST, hashlib.sha256(one[:-SIGNATURES]).digest())
    assert verdict(mixed, [keys[0].digest]) == "bad_signature"


def test_trusted_key_with_a_signature_made_by_another_is_refused(keys, tmp_path):
    mine, theirs = (sign(make_image(2), tmp_path, key) for key in keys[:2])
    start = len(mine) - SIGNATURES
    forged = reseal(mine, SIGNATURE, theirs[start + SIGNATURE : start + CRC])
    assert verdict(forged, [keys[0].digest]) == "bad_signature"


def test_extreme_numbers_in_place_of_a_signature_are_refused(keys, tmp_path):
    image = sign(make_image(2), tmp_path, keys[0])
    start = len(image) - SIGNATURES
    modulus = image[start + MODULUS : start + MODULUS + 384]
    below = (int.from_bytes(modulus, "little") - 1).to_bytes(384, "little")
    for number in (bytes(384), (1).to_bytes(384, "little"), modulus, below, b"\xff" * 384):
        assert verdict(reseal(image, SIGNATURE, number), [keys[0].digest]) == "bad_signature"


def test_salt_of_another_length_and_other_paddings_are_refused(keys, tmp_path):
    image = sign(make_image(2), tmp_path, keys[0])
    digest = hashlib.sha256(image[:-SIGNATURES]).digest()
    sha256 = hashes.SHA256()
    foreign = [
        padding.PSS(padding.MGF1(sha256), 20),
        padding.PSS(padding.MGF1(sha256), 0),
        padding.PSS(padding.MGF1(hashes.SHA1()), 32),
        padding.PKCS1v15(),
    ]
    for how in foreign:
        number = keys[0].private.sign(digest, how, utils.Prehashed(sha256))
        assert verdict(reseal(image, SIGNATURE, number[::-1]), [keys[0].digest]) == "bad_signature"
    number = keys[0].private.sign(digest, padding.PSS(padding.MGF1(sha256), 32), utils.Prehashed(sha256))
    assert verdict(reseal(image, SIGNATURE, number[::-1]), [keys[0].digest]) == "ok"


def test_signature_number_beyond_the_modulus_is_refused(keys, tmp_path):
    # Modulo n it is the sound one: a second form of the same signature, which RFC 8017 forbids.
    modulus = keys[0].private.public_key().public_numbers().n
    for seed in range(200):
        image = sign(make_image(seed), tmp_path, keys[0])
        start = len(image) - SIGNATURES
        number = int.from_bytes(image[start + SIGNATURE : start + CRC], "little") + modulus
        if number < 1 << 3072:
            assert verdict(image, [keys[0].digest]) == "ok"
            image = reseal(image, SIGNATURE, number.to_bytes(384, "little"))
            assert verdict(image, [keys[0].digest]) == "bad_signature"
            return
    raise AssertionError("no signature with room above it")


def test_encoding_that_only_nearly_fits_is_refused(keys, tmp_path):
    image = sign(make_image(2), tmp_path, keys[0])
    private = keys[0].private.private_numbers()
    modulus = private.public_numbers.n
    digest = hashlib.sha256(image[:-SIGNATURES]).digest()
    salt = bytes(range(32))
    seal = hashlib.sha256(bytes(8) + digest + salt).digest()
    mask = b"".join(hashlib.sha256(seal + struct.pack(">I", count)).digest() for count in range(11))[:351]

    def signed(data: bytes, end: bytes = b"\xbc", top: int = 0) -> bytes:
        masked = bytearray(one ^ other for one, other in zip(data, mask, strict=True))
        masked[0] = masked[0] & 0x7F | top
        number = pow(int.from_bytes(bytes(masked) + seal + end, "big"), private.d, modulus)
        return reseal(image, SIGNATURE, number.to_bytes(384, "little"))

    data = bytes(318) + b"\x01" + salt
    assert verdict(signed(data), [keys[0].digest]) == "ok"
    nearly = [signed(data, b"\xbd"), signed(data, top=0x80), signed(bytes(317) + b"\x01\x01" + salt)]
    nearly += [signed(bytes(318) + b"\x02" + salt), signed(bytes(318) + b"\0" + salt)]
    for number, wrong in enumerate(nearly):
        assert verdict(wrong, [keys[0].digest]) == "bad_signature", number


def test_torn_signature_sector_is_damage_not_a_verdict(keys, tmp_path):
    image = sign(make_image(2), tmp_path, keys[0])
    start = len(image) - SIGNATURES
    assert verdict(image[: start + 1000], [keys[0].digest]) == "wrong_length"
    assert verdict(image[: start + 1000] + b"\xff" * 3096, [keys[0].digest]) == "damaged_signature"
    assert verdict(flip(image, start + 1100), [keys[0].digest]) == "damaged_signature"
    assert verdict(image[:start] + b"\xff" * SIGNATURES, [keys[0].digest]) == "no_signature"


def test_intact_second_signature_saves_an_image_whose_first_is_damaged(keys, tmp_path):
    image = sign(make_image(2), tmp_path, keys[0], keys[1])
    damaged = flip(image, len(image) - SIGNATURES + 900)
    assert verdict(damaged, [keys[0].digest]) == "damaged_signature"
    assert verdict(damaged, [keys[1].digest]) == "ok"


@pytest.fixture(scope="module")
def cases(keys, tmp_path_factory) -> list[tuple[bytes, Key]]:
    """Images of many sizes, signed and then left alone or damaged at a place drawn by the seed, and a trusted key."""
    folder = tmp_path_factory.mktemp("cases")
    draw = random.Random(4)
    made = []
    for number in range(CASES):
        key = keys[number % 3]
        image = sign(make_image(draw.randrange(256), size_bytes=draw.randrange(100, 20000)), folder, key)
        start = len(image) - SIGNATURES
        kind = draw.choice(("whole", "image", "block", "number", "key", "other key"))
        if kind == "image":
            image = flip(image, draw.randrange(start), draw.randrange(8))
        elif kind == "block":
            image = flip(image, start + draw.randrange(1200), draw.randrange(8))
        elif kind in ("number", "key"):
            low, high = (SIGNATURE, CRC) if kind == "number" else (MODULUS, SIGNATURE)
            at = draw.randrange(low, high)
            image = reseal(image, at, bytes([image[start + at] ^ 1 << draw.randrange(8)]))
        elif kind == "other key":
            key = keys[(number + 1) % 3]
        made.append((image, key))
    return made


def test_verdicts_are_espsecures(cases):
    verdicts = set()
    for image, key in cases:
        mine, theirs = verdict(image, [key.digest]) == "ok", espsecure_takes(image, key)
        # What is damaged in the key is seen by us alone: espsecure is handed the key, a device knows its digest.
        start = len(image) - SIGNATURES
        assert mine == (theirs and image[start + MODULUS : start + SIGNATURE] == key.block)
        verdicts.add(mine)
    assert verdicts == {True, False}


@pytest.mark.vm
def test_the_micropython_vm_comes_to_the_same_verdicts(cases, tmp_path):
    lines, expected = [], []
    for number, (image, key) in enumerate(cases):
        (tmp_path / f"{number}.bin").write_bytes(image)
        lines.append(f"{number}.bin {key.digest}\n")
        expected.append(f"{number}.bin {verdict(image, [key.digest])}")
    (tmp_path / "cases").write_text("".join(lines))
    done = vm.run(tmp_path, "host_tests.unit.judge", "files")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == expected
    assert any(line.endswith(" ok") for line in expected)


@pytest.mark.vm
def test_real_firmware_signed_by_espressifs_tool_is_installed_and_no_other(keys, tmp_path):
    real = firmware.app_image("1.28.0")
    with Home(tmp_path, "vm", signing_keys=[keys[0].digest]) as home:
        vendor = home.server.vendor

        def publish(image: bytes) -> str:
            path = tmp_path / "published.bin"
            path.write_bytes(image)
            version = vendor.create_version(home.template_id, path)
            vendor.set_target(home.template_id, version["id"])
            return version["id"]

        def refused(console: str) -> bool:
            return "the thermometer runs, next try in" in console and "reported" in console.rpartition("next try in")[2]

        for image, code in ((real, "no_signature"), (sign(real, tmp_path, keys[1]), "unknown_key")):
            version_id = publish(image)
            console = home.power_on(refused)
            assert f"[{code}]; the thermometer runs" in console and "(on trial)" not in console
            assert home.twin().state()["quarantined"] == version_id
        signed = sign(real, tmp_path, keys[0])
        version_id = publish(signed)
        console = home.power_on(is_done)
        assert "needs no signature" not in console
        assert home.twin().state()["versionId"] == home.thing()["currentVersion"]["id"] == version_id
        assert home.twin().slot_bytes("ota_1", len(signed)) == signed
