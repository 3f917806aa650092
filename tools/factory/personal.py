"""The two secrets that each board has for itself: the password of its setup network, and its proof at activation."""

import hashlib
import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from tools.factory.errors import FactoryError
from tools.factory.image import read_files

SETUP_PASSWORD, DEVICE_SECRET = "setup_password", "device_secret"
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # without what looks alike on a label: i l 1, o 0
_PASSWORD_CHARS = 12  # 59 bits: a WPA2 handshake that was overheard is not worth the guessing
_SECRET_BYTES = 16


@dataclass(frozen=True, repr=False)
class Secrets:
    """One board's. They stand in its /config.json; the password on its label, of the secret nothing but its hash."""

    setup_password: str
    device_secret: str

    @property
    def sha256(self) -> str:
        """By which the server and the manufacturing record know the device secret."""
        return secret_sha256(self.device_secret)

    @property
    def settings(self) -> dict[str, str]:
        """For /config.json."""
        return {SETUP_PASSWORD: self.setup_password, DEVICE_SECRET: self.device_secret}


def new_secrets() -> Secrets:
    """Secrets that nobody has."""
    password = "".join(secrets.choice(_ALPHABET) for _ in range(_PASSWORD_CHARS))
    return Secrets(password, secrets.token_hex(_SECRET_BYTES))


def secret_sha256(device_secret: str) -> str:
    """The SHA-256 of a device secret's text, in hex."""
    return hashlib.sha256(device_secret.encode()).hexdigest()


def secrets_of(image: bytes, serial: str) -> Secrets | None:
    """Those in the flash image of the board with this serial number; None when it is another board's, or has none."""
    try:
        files = read_files(image)
        config = json.loads(files["/config.json"])
        if files["/serial.txt"].decode().strip() != serial:
            return None
        password, secret = config.get(SETUP_PASSWORD), config.get(DEVICE_SECRET)
    except (FactoryError, KeyError, ValueError, AttributeError):
        return None
    return Secrets(password, secret) if password and secret else None


def kept_secrets(path: Path, serial: str) -> Secrets | None:
    """Those of an image that was made before: a label may be printed already, and the server knows the hash."""
    try:
        return secrets_of(path.read_bytes(), serial)
    except OSError:
        return None
