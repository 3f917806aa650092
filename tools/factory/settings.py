"""What makes a board this one thermometer: its serial number and its settings, checked before they lie on a board."""

import json
import re
import time
from datetime import UTC, datetime
from pathlib import Path

from tools import ondevice
from tools.factory.errors import FactoryError

CA_PATH = "/ca.pem"
_EPOCH_S = 946_684_800  # 2000-01-01 UTC, where a board's clock begins
_CA_MAX_BYTES = 16 * 1024  # what a board can hold in memory next to everything else
_SERVER = re.compile(r"https?://[^/\s:@?#]+(:\d{1,5})?/?")
_SSID_MAX_BYTES = 32
_PASSPHRASE = re.compile(r"[ -~]{8,63}|[0-9A-Fa-f]{64}")


def own_files(serial: str, server: str, **config: object) -> dict[str, bytes]:
    """What makes the board this one: its serial number, and its settings."""
    # Not in \u escapes: MicroPython does not put the two halves of one together.
    settings = json.dumps({"server": server, **config}, indent=1, ensure_ascii=False)
    return {"/serial.txt": serial.encode() + b"\n", "/config.json": settings.encode() + b"\n"}


def state_file(version_id: str, fingerprint: str) -> dict[str, bytes]:
    """The agent's record of a board that leaves the factory with a published version in ota_0: it is installed, and
    not confirmed yet."""
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
    if "wifi" not in config:
        raise FactoryError("no WiFi network is given: WIFI_SSID=… WIFI_PASSWORD=…, or wifi in the file CONFIG=…")
    for network in config["wifi"]:
        if not isinstance(network, list) or len(network) not in (2, 3):
            raise FactoryError('wifi needs networks like [["name", "password"]]')
        check_wifi(*network[:2])
    return config


def read_config(path: Path) -> dict:
    """Further settings from a JSON file. FactoryError when it is none, or names a setting that no device knows."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FactoryError(f"{path} cannot be read: {error.strerror or error}") from error
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
        pem = b"-----BEGIN" in data
        certificates = x509.load_pem_x509_certificates(data) if pem else [x509.load_der_x509_certificate(data)]
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
    if not _SERVER.fullmatch(text):
        raise ValueError(f"{text!r} is no address like http://192.168.1.20:8080")
    return text


def check_wifi(name: str, password: str) -> None:
    """FactoryError when no WiFi network can have this name or password. The password is never shown."""
    if not isinstance(name, str) or not 1 <= len(name.encode()) <= _SSID_MAX_BYTES:
        raise FactoryError(f"{name!r} is no WiFi name: it has 1 to {_SSID_MAX_BYTES} bytes")
    if not isinstance(password, str) or (password and not _PASSPHRASE.fullmatch(password)):
        raise FactoryError(f"the password of WiFi {name!r} has not 8 to 63 ASCII characters (none: an open network)")
