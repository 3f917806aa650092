"""What makes a board this one thermometer: its serial number and its settings, checked before they lie on a board."""

import ipaddress
import json
import re
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from tools import ondevice
from tools.factory import personal, setup_network
from tools.factory.errors import FactoryError
from tools.release import PRODUCT
from tools.text_files import TextError, pem, read_text

CA_PATH = "/ca.pem"
_EPOCH_S = 946_684_800  # 2000-01-01 UTC, where a board's clock begins
_CA_MAX_BYTES = 16 * 1024  # what a board can hold in memory next to everything else
_SERVER = re.compile(r"https?://[A-Za-z0-9._-]+(:[0-9]+)?/?")
_PORT_MAX = 65535
_OWN_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")
_SSID_MAX_BYTES = 32
_PASSPHRASE_BYTES = range(8, 64)
_WPA_KEY = re.compile(r"[0-9A-Fa-f]{64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_DEVICE_SECRET = re.compile(r"[0-9a-f]{32}")


def own_files(serial: str, server: str, **config: object) -> dict[str, bytes]:
    """What makes the board this one: its serial number, and its settings."""
    # Not in \u escapes: MicroPython does not put the two halves of one together.
    settings = json.dumps({"server": server, **config}, indent=1, ensure_ascii=False)
    return {"/serial.txt": serial.encode() + b"\n", "/config.json": settings.encode() + b"\n"}


def state_file(version_id: str, fingerprint: str) -> dict[str, bytes]:
    """Return the agent's record, {path: content}, of a board that leaves the factory with a published version in ota_0:
    it is installed, and not confirmed yet. FactoryError when this is no version's Id."""
    if not ondevice.is_serial(version_id):
        raise FactoryError(f"{version_id!r} is no version Id: the server lists them (VERSION_ID=…)")
    record = {"versionId": version_id, "slot": "ota_0", "image": fingerprint, "confirmed": False}
    return {"/state.json": json.dumps(record).encode()}


def make_config(
    server: str,
    wifi: tuple[str, str] | None,
    base: dict,
    has_ca: bool = False,
    signing_key: str | None = None,
    made_at_s: int | None = None,
) -> dict:
    """The settings for /config.json: `base`, with what the others say on top of it. FactoryError when a device would
    not take them."""
    config = {**base, "server": server}
    if wifi:
        further = base.get("wifi", [])
        config["wifi"] = [list(wifi), *further] if isinstance(further, list) else further
    if has_ca:
        config["ca"] = CA_PATH
    if signing_key:
        further = base.get("signing_keys", [])
        if isinstance(further, list):
            config["signing_keys"] = [signing_key, *(key for key in further if key != signing_key)]
    config["made_at"] = int(time.time()) - _EPOCH_S if made_at_s is None else made_at_s
    try:
        ondevice.check_config(own_files("A", **config)["/config.json"])
    except ondevice.Refused as error:
        raise FactoryError(str(error)) from error
    except UnicodeEncodeError as error:  # "\ud800" alone, which JSON can write and UTF-8 cannot
        raise FactoryError(f"the settings hold half of a character ({error.object[error.start]!r})") from error
    for network in config.get("wifi", []):
        if not isinstance(network, list) or len(network) not in (2, 3):
            raise FactoryError('wifi needs networks like [["name", "password"]]')
        check_wifi(*network[:2])
    setup_network.check_product(config.setdefault("product", PRODUCT))
    _check_secrets(config)
    return config


def read_config(path: Path) -> dict:
    """Further settings from a JSON file. FactoryError when it is none, or names a setting that no device knows."""
    try:
        config = json.loads(read_text(path))
    except OSError as error:
        raise FactoryError(f"{path} cannot be read: {error.strerror or error}") from error
    except TextError as error:
        raise FactoryError(f"{path} is not JSON: {error}") from error
    except ValueError as error:
        raise FactoryError(f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise FactoryError(f"{path} is not a JSON object")
    known = ondevice.settings()
    unknown = sorted(set(config) - known)
    if unknown:
        raise FactoryError(f"{path}: there is no setting {unknown[0]!r}; there are {', '.join(sorted(known))}")
    return config


def read_ca(path: Path) -> bytes:
    """The certificates of a PEM or DER file as PEM, without what else is in it. FactoryError when there is none, when
    one has expired, or when they are too many for a device."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        data = path.read_bytes()
    except OSError as error:
        raise FactoryError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        data = pem(data)
        is_pem = data.startswith(b"-----BEGIN") or b"\n-----BEGIN" in data
        certificates = x509.load_pem_x509_certificates(data) if is_pem else [x509.load_der_x509_certificate(data)]
    except TextError as error:
        raise FactoryError(f"{path} holds no certificate: {error}") from error
    except ValueError as error:
        raise FactoryError(f"{path} holds no certificate in PEM or DER form") from error
    for certificate in certificates:
        if certificate.not_valid_after_utc < datetime.now(UTC):
            name = certificate.subject.rfc4514_string()
            raise FactoryError(f"{path}: the certificate {name} expired on {certificate.not_valid_after_utc:%Y-%m-%d}")
    bundle = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)
    if len(bundle) > _CA_MAX_BYTES:
        raise FactoryError(
            f"{path} holds {len(certificates)} certificates, too many for a device's memory: give the server's alone"
        )
    return bundle


def check_serial(text: str) -> str:
    """The serial number. ValueError when it cannot be one."""
    if not ondevice.is_serial(text):
        raise ValueError(f"{text!r} is no serial number like THERM00000000000001: 1 to 64 of A-Z a-z 0-9 . _ -")
    return text


def check_server(text: str) -> str:
    """The server's address. ValueError when it cannot be one."""
    match = _SERVER.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is no address like http://192.168.1.20:8080")
    if match[1] and not 1 <= int(match[1][1:]) <= _PORT_MAX:
        raise ValueError(f"{text!r} has the port {match[1][1:]}: they go from 1 to {_PORT_MAX}")
    return text


def check_reachable(server: str) -> None:
    """FactoryError for an address that a board takes for itself."""
    if is_own_address(server):
        raise FactoryError(
            f"{server} is this computer for itself; a board reaches it by its address in the network, like "
            "http://192.168.1.20:8080 (for a virtual board: ALLOW_LOCALHOST=1, or --allow-localhost)"
        )


def is_own_address(server: str) -> bool:
    """True for an address that a board takes for itself: on the desk the server answers there, and no board ever finds
    it."""
    host = (urlsplit(server).hostname or "").rstrip(".")
    try:
        # As the board's own resolver reads numbers: 127.1 and 0x7f000001 are 127.0.0.1.
        address = ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        address = None
    is_own = address is not None and (address.is_loopback or address.is_unspecified)
    return is_own or host in _OWN_NAMES or host.endswith(".localhost")


def check_wifi(name: str, password: str) -> None:
    """FactoryError when no WiFi network can have this name or password. The password is never shown."""
    if not isinstance(name, str) or _CONTROL.search(name) or not 1 <= len(name.encode()) <= _SSID_MAX_BYTES:
        raise FactoryError(f"{name!r} is no WiFi name: it has 1 to {_SSID_MAX_BYTES} bytes, no control characters")
    if not isinstance(password, str) or (password and not _is_passphrase(password)):
        raise FactoryError(
            f"the password of WiFi {name!r} has not 8 to 63 bytes without control characters (none: an open network)"
        )


def _is_passphrase(text: str) -> bool:
    """True for what access points take: mostly ASCII, but many let their owners choose from all of UTF-8."""
    if _WPA_KEY.fullmatch(text):
        return True
    return not _CONTROL.search(text) and len(text.encode()) in _PASSPHRASE_BYTES


def _check_secrets(config: dict) -> None:
    """FactoryError for secrets in the file CONFIG that are none; they are never shown."""
    password = config.get(personal.SETUP_PASSWORD, "")
    if password and not _is_passphrase(password):
        raise FactoryError(f"{personal.SETUP_PASSWORD} has not 8 to 63 bytes without control characters")
    secret = config.get(personal.DEVICE_SECRET, "")
    if secret and not _DEVICE_SECRET.fullmatch(secret):
        raise FactoryError(f"{personal.DEVICE_SECRET} is not 32 hex digits")
