"""The bench of one story: a server, a factory-fresh thermometer's flash, and what the story expects of them."""

import contextlib
import hashlib
import io
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tools import agent, espressif, factory, firmware, release, server
from tools.factory.order import make_order
from tools.factory.personal import new_secrets
from tools.factory.settings import own_files, state_file
from tools.proof.chip import releases
from tools.proof.chip.emulator import HOST, SSID, Chip, Emulator, Line
from tools.twin import otadata, partitions
from tools.twin.flash import Flash

SERIAL = "THERM00000000000001"
SHOWN_LINES = 25
START_S = 300
"""How long a start may take until it is in step, without a download: a bound, for emulators on crowded machines."""
DOWNLOAD_S = 900
WATCHDOG_S = 400
"""How long until a release that does not prove itself is gone: boot.py's watchdog, and two starts."""

_PATCHES_S = 300
# The emulated chip has no sensor on its pins.
_SETTINGS = {
    "start_spread_s": 0,
    "report_interval_s": 5,
    "check_interval_s": 20,
    "led_pin": 2,
    "chip_temperature_property": "temperature",
}
_SPENT = ("load:", "clk_drv:", "mode:", "configsip:", "entry ")


class StoryFailed(Exception):
    """The device did not do what the story says; the text says what was expected."""


class Bench:
    """What a story works with. `say(text)` prints a line; `log` gets what the console shows."""

    def __init__(
        self, emulator: Emulator, folder: Path, say: Callable[[str], object], log: Callable[[str], object]
    ) -> None:
        self.app = firmware.app_image(releases.MICROPYTHON)
        self.flash = folder / "flash.bin"
        self.folder = folder
        self.signing_key: Path | None = None
        self.versions: dict[str, str] = {}  # Ids by number
        self._emulator = emulator
        self._say = say
        self._log = log
        self._begun = time.monotonic()

    @contextlib.contextmanager
    def serving(self, tls: Sequence[Path] | None = None, patches: bool = False) -> Iterator[None]:
        """Have a new server run, with a product and its serial number; with `patches` it makes those for a release."""
        self.versions = {}
        self._data = Path(tempfile.mkdtemp(prefix="server-", dir=self.folder))
        pair = (tls[0], tls[1]) if tls else None
        with server.running(self._data, tls=pair, patch_bases=int(patches)) as self._server:
            vendor = self._server.vendor
            self._template = vendor.create_template("Thermometer")["id"]
            vendor.add_serials(vendor.create_product("Thermometer", self._template)["id"], [SERIAL])
            yield

    def step(self, text: str) -> None:
        """Print what has been shown, with the seconds since the story began."""
        self._say(f"{time.monotonic() - self._begun:7.1f} s  {text}")

    def publish(self, image: bytes, target: bool = True, signed: bool = True) -> str:
        """Publish an image, signed if there is a key, as the next version; return its Id."""
        path = self.folder / "image.bin"
        path.write_bytes(espressif.sign(image, self.signing_key) if self.signing_key and signed else image)
        version = self._server.vendor.create_version(self._template, path)
        self.versions[version["name"]] = version["id"]
        if target:
            self.set_target(version["name"], force=not signed)
        return version["id"]

    def put_in_its_place(self, number: str, content: bytes) -> None:
        """Have the server hand out these bytes, which it would not take, as a version's firmware (cut to its size)."""
        found = next(v for v in self._server.vendor.versions(self._template) if v["name"] == number)
        path = next(self._data.rglob(found["sha256"]))
        path.chmod(0o600)
        path.write_bytes(content[: found["sizeBytes"]])

    def set_target(self, number: str, force: bool = False) -> None:
        """Make a version the template's target; with `force` also an unsigned one after a signed one."""
        self._server.vendor.set_target(self._template, self.versions[number], force=force)

    def wait_for_patches(self, number: str) -> None:
        """Wait until the server has made a version's patches."""
        end = time.monotonic() + _PATCHES_S
        while not all(each["ready"] for each in self._server.vendor.downloads(self._template, self.versions[number])):
            if time.monotonic() > end:
                raise StoryFailed(f"the server has made no patches within {_PATCHES_S} s")
            time.sleep(1)

    def make_flash(self, ca: Path | None = None, app: bytes | None = None, ssid: str | None = SSID) -> None:
        """Publish release 1, and make the flash of a thermometer that leaves the factory with it: as `make factory`
        does, unless it is another `app`. Without `ssid` its owner is to name a network."""
        config = self.folder / "config.json"
        config.write_text(json.dumps(_SETTINGS))
        url = self._server.url.replace("127.0.0.1", HOST)
        combined = firmware.combined_image(releases.MICROPYTHON)
        order = make_order(combined, url, (ssid, "") if ssid else None, None, ca, self.signing_key, None, config)
        parts = replace(order.parts, app=app) if app else order.parts
        version_id = self.publish(parts.app, signed=False)  # what the factory writes needs no signature
        files = {**order.files, **state_file(version_id, parts.fingerprint)}
        self._order = replace(order, parts=parts, files=files)
        self.write_flash()

    def write_flash(self, files: dict[str, bytes] | None = None) -> None:
        """Write the factory's flash again, with these files in place of its own."""
        self.flash.write_bytes(
            replace(self._order, files={**self._order.files, **(files or {})}).image(SERIAL, new_secrets())
        )

    def deployed_flash(self) -> bytes:
        """Return the same flash with stock MicroPython, and release 1's files in a folder."""
        stock = replace(self._order.parts, app=self.app)
        files = agent.deployed_files(release.release_files(release.Contents(1), releases.MICROPYTHON))
        own = own_files(SERIAL, **{**self._order.config, **new_secrets().settings})
        files = {**self._order.files, **files, **own}
        return factory.assemble(stock, files, partitions=factory.FORMER_LAYOUT)

    @contextlib.contextmanager
    def powered(self) -> Iterator[Chip]:
        """The thermometer has power until the end of the block."""
        with self._emulator.powered(self.flash, self._hear) as chip:
            yield chip

    def expect(self, chip: Chip, text: str, timeout_s: float, whole: bool = True) -> Line:
        """Return the console's next line with this text, see `Chip.wait_for`. StoryFailed when it does not come."""
        line = chip.wait_for(text, timeout_s, whole)
        if line is None:
            raise StoryFailed(f"{text!r} was not on the console within {timeout_s:.0f} s")
        return line

    def check(self, is_so: bool, what: str) -> None:
        """StoryFailed unless it is so; otherwise a step."""
        if not is_so:
            raise StoryFailed(f"not so: {what}")
        self.step(what)

    def thing(self) -> dict:
        """The thing as the server knows it."""
        return self._server.vendor.thing(SERIAL)

    def status(self) -> dict:
        """What the device has told the server of its last update."""
        return self.thing()["properties"].get("status") or {}

    def wait_for_status(self, chip: Chip, code: str | None, timeout_s: float) -> dict:
        """Return the status that the device reports, once it names this code."""
        end = time.monotonic() + timeout_s
        while self.status().get("code") != code:
            if time.monotonic() > end:
                raise StoryFailed(f"the server was not told {code!r} within {timeout_s:.0f} s, but {self.status()}")
            chip.listen(1)
        return self.status()

    def records(self) -> list[tuple[int, int, bool]]:
        """otadata's two records: sequence number, state, and whether its CRC fits."""
        with self.flash.open("rb", buffering=0) as file:
            flash = Flash(file)
            return otadata.read_records(flash, partitions.otadata(partitions.read_table(flash))[2])

    def erase_record(self, otadata_sector: int) -> None:
        """Erase one of otadata's records in the flash of a chip without power."""
        with self.flash.open("r+b", buffering=0) as file:
            flash = Flash(file)
            address = partitions.otadata(partitions.read_table(flash))[2]
            flash.erase(address + otadata_sector * otadata.SECTOR_BYTES)

    def slot(self, label: str) -> bytes:
        """What lies in a slot."""
        with self.flash.open("rb", buffering=0) as file:
            flash = Flash(file)
            slot = next(entry for entry in partitions.read_table(flash) if entry[4] == label)
            return bytes(flash.read(slot[2], slot[3]))

    def record(self) -> dict:
        """The agent's record on flash."""
        return json.loads(factory.read_files(self.flash.read_bytes())["/state.json"])

    def hash(self) -> str:
        """What tells whether flash has changed."""
        return hashlib.sha256(self.flash.read_bytes()).hexdigest()

    def _hear(self, text: str) -> None:
        if not any(spent in text for spent in _SPENT):
            self._log(text)


def signing_key(folder: Path) -> Path:
    """Make a vendor's signing key; return its PEM file."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    private = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path = folder / "key.pem"
    with contextlib.redirect_stdout(io.StringIO()):
        path.write_bytes(private.private_bytes(*form))
    return path


def certificates(folder: Path) -> tuple[Path, Path, Path]:
    """Make a CA, and the server's certificate for the address where the chip finds it; return the PEM files of the CA,
    the certificate and its key."""
    import trustme

    authority = trustme.CA()
    issued = authority.issue_cert(HOST, "127.0.0.1")
    ca, certificate, key = folder / "ca.pem", folder / "server.pem", folder / "server.key"
    authority.cert_pem.write_to_path(ca)
    issued.private_key_and_cert_chain_pem.write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    return ca, certificate, key
