"""Espressif's tools as a library: their reading of an image, their signatures, without their talk on the console."""

import contextlib
import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from tools.text_files import TextError, pem

CHIP = "esp32"
CHIP_ID = 0
SECTOR_BYTES = 4096
_MAGIC = 0xE9
_HEADER_BYTES = 24
_DESCRIPTOR = slice(32, 36)
_DESCRIPTOR_MAGIC = b"\x32\x54\xcd\xab"
_IMAGES_KEPT = 4  # esptool adds up each byte in Python, and one command reads the same image several times


class ImageError(Exception):
    """An image, a key or a signature that is not what it should be; the text says which and why."""


@dataclass(frozen=True)
class Image:
    """What esptool reads in an image: its bytes without what follows it, whether it is an app, its chip revisions
    (major * 100 + minor)."""

    data: bytes
    is_app: bool
    revision_min: int


def read_image(data: bytes, name: str) -> Image:
    """The ESP32 image that `data` begins with. ImageError when there is none, when it is for another chip, or when
    checksum or SHA-256 do not fit; `name` says whose it is."""
    try:
        return _read_image(bytes(data))
    except ImageError as error:
        raise ImageError(f"{name} {error}") from error.__cause__


@lru_cache(_IMAGES_KEPT)
def _read_image(data: bytes) -> Image:
    from esptool.bin_image import LoadFirmwareImage
    from esptool.util import FatalError

    if len(data) < _HEADER_BYTES or data[0] != _MAGIC:
        raise ImageError(f"is no ESP32 image (it begins with {data[:4].hex() or 'nothing'})")
    chip = int.from_bytes(data[12:14], "little")
    if chip != CHIP_ID:
        raise ImageError(f"is for the {chip_name(chip)}, not for the ESP32")
    try:
        silence()
        image = LoadFirmwareImage(CHIP, data)
        checksum = image.calculate_checksum()
    except (FatalError, EOFError, IndexError, ValueError, OSError) as error:
        raise ImageError(f"is damaged: {_sentence(error)}") from error
    except Exception as error:  # esptool unpacks without looking: a cut image is a struct.error
        raise ImageError("is damaged: it ends early") from error
    if not image.append_digest:
        raise ImageError("has no SHA-256 at its end")
    if image.checksum != checksum or image.calc_digest != image.stored_digest:
        raise ImageError("is damaged: it does not match its checksum and SHA-256")
    size_bytes = image.data_length + image.SHA256_DIGEST_LEN
    return Image(data[:size_bytes], data[_DESCRIPTOR] == _DESCRIPTOR_MAGIC, image.min_rev_full)


def chip_name(chip_id: int) -> str:
    """The chip that an image header names, like "ESP32-S3"."""
    from esptool.targets import ROM_LIST

    names = [rom.CHIP_NAME for rom in ROM_LIST if chip_id == rom.IMAGE_CHIP_ID]
    return names[0] if names else f"chip with the Id {chip_id}"


def key_digest(path: Path) -> str:
    """The digest by which a device knows this RSA-3072 key (private or public, PEM), in hex: what
    `espsecure digest-sbv2-public-key` gives. ImageError when it is no such key."""
    import espsecure

    # The public half: a private key is checked whenever it is loaded, which takes a tenth of a second.
    public = io.BytesIO(public_key(path))
    public.name = str(path)
    silence()
    with TemporaryDirectory() as folder:
        output = Path(folder) / "digest"
        espsecure.digest_sbv2_public_key(public, str(output))
        return output.read_bytes().hex()


def public_key(path: Path) -> bytes:
    """The public half of an RSA-3072 key in a PEM file, as PEM. ImageError when the file holds none."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    with _open_key(path) as file:
        data = file.read()
    try:
        if b"PRIVATE KEY" in data:
            key = serialization.load_pem_private_key(data, password=None).public_key()
        else:
            key = serialization.load_pem_public_key(data)
    except TypeError:
        raise ImageError(f"{path} is encrypted: espsecure needs the key without a passphrase") from None
    except ValueError:
        raise ImageError(f"{path} holds no key in PEM form") from None
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size != 3072:
        kind = f"RSA-{key.key_size}" if isinstance(key, rsa.RSAPublicKey) else type(key).__name__.removesuffix("Key")
        raise ImageError(f"{path} is an {kind} key: devices check RSA-3072 signatures")
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def pad(app: bytes) -> bytes:
    """The image as it is signed: filled up to a whole sector."""
    return app + b"\xff" * (-len(app) % SECTOR_BYTES)


def sign(app: bytes, key: Path) -> bytes:
    """`app`, padded, with a Secure Boot v2 signature by the private key in the file. ImageError when it cannot be."""
    return _sign(app, {"keyfile": [key]})


def attach_signature(app: bytes, public: Path, signature: Path) -> bytes:
    """`app`, padded, with a signature made elsewhere: the 384 bytes of an RSA-PSS signature (SHA-256, salt of 32
    bytes) of the padded image. ImageError when it is none of this key for this image."""
    return _sign(app, {"pub_key": [public], "signature": [signature]})


def silence() -> None:
    """Keep what Espressif's tools say off the console, from now on. (Redirecting the console would take the words of
    other threads with it.)"""
    from esptool.logger import log

    log.set_verbosity("silent")


def _sign(app: bytes, files: dict[str, list[Path]]) -> bytes:
    import espsecure
    from esptool.util import FatalError

    with TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        opened = {
            name: [stack.enter_context(path.open("rb") if name == "signature" else _open_key(path)) for path in paths]
            for name, paths in files.items()
        }
        output = Path(folder) / "signed"
        data = io.BytesIO(pad(app))
        data.name = "image"  # espsecure compares it with the output's name
        arguments = {"keyfile": [], "pub_key": [], "signature": [], **opened}
        try:
            silence()
            espsecure.sign_data(
                "2",
                output=str(output),
                append_signatures=False,
                hsm=False,
                hsm_config=None,
                datafile=data,
                **arguments,
            )
        except (FatalError, ValueError) as error:
            raise ImageError(f"espsecure does not sign: {_sentence(error)}") from error
        return output.read_bytes()


def _open_key(path: Path) -> io.BytesIO:
    """The key's file as espsecure reads it. ImageError when it cannot be read."""
    try:
        file = io.BytesIO(pem(path.read_bytes()))
    except OSError as error:
        raise ImageError(f"the signing key cannot be read: {error}") from error
    except TextError as error:
        raise ImageError(f"{path} holds no key in PEM form: {error}") from error
    file.name = str(path)
    return file


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
