"""What is measured, made ready: server, images, signing key, and one flash image per contender."""

import contextlib
import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import espsecure
import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tools import agent, factory, firmware, release, server
from tools.proof.bench import board
from tools.twin.__main__ import WIFI

FORMS = ("raw", "string", "object")
RELEASES = ("code", "micropython")
"""What differs between the two releases of a small update: a line of the product, or the MicroPython."""
SMALL = tuple(f"ours {way} {what}" for what in RELEASES for way in ("delta", "compressed"))
OURS = (*(f"ours {form}{signed}" for form in FORMS for signed in ("", " signed")), *SMALL)
FLOORS = {"floor raw": "floor_raw", "floor string": "floor_string"}
OTHERS = {"naive": ("naive", "string"), "typical": ("typical", "raw")}
CONTENDERS = (*FLOORS, *OTHERS, *OURS)

ROOT = agent.ROOT
_HERE = Path(__file__).parent
_FIRST_SLOT_ADDRESS = 0x10000
_SLOT_BYTES = factory.place("ota_0", factory.LAYOUT).size
_VFS_BYTES = factory.place("vfs", factory.LAYOUT).size
_PATCHES_WITHIN_S = 120
_ACCEPT = "application/octet-stream, application/json;q=0.5"


@dataclass(frozen=True)
class Contender:
    """One way to update: `flash` is the board right before it, `image` what must be in ota_1 afterwards.
    It asks the server at `server_url`; `led_to(url)` are the files that lead it to another."""

    name: str
    flash: Path
    image: bytes
    server_url: str
    led_to: Callable[[str], dict[str, bytes]]


@contextlib.contextmanager
def contenders(
    names: tuple[str, ...] = CONTENDERS,
    old: bytes | None = None,
    new: bytes | None = None,
    slot_bytes: int = _SLOT_BYTES,
) -> Iterator[dict[str, Contender]]:
    """These contenders by name, ready to be powered on, with servers that run as long as the block does. `old` is the
    app they run (release 1 on MicroPython 1.27.0), `new` the one to install (release 2), in slots of `slot_bytes`."""
    old = _release(1) if old is None else old
    new = _release(2) if new is None else new
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        signed = sign(new, folder) if any(name.endswith("signed") for name in names) else None
        makers: dict[str, _Maker] = {}
        made = {}
        for name in names:
            form = _form(name)
            key = name if name in SMALL else form
            if key not in makers:
                data = folder / key.replace(" ", "-")
                if name in SMALL:
                    running = stack.enter_context(server.running(data, patch_bases=1))
                    makers[key] = _Maker(data, running, (old, _changed(name.split()[2])), None, slot_bytes)
                else:
                    running = stack.enter_context(server.running(data, firmware_form=form))
                    makers[key] = _Maker(data, running, (old, new), signed, slot_bytes)
            made[name] = makers[key].make(name)
        yield made


def _release(number: int) -> bytes:
    return release.make_release(firmware.app_image("1.27.0"), release.Contents(number))


def _changed(what: str) -> bytes:
    """Release 2, which differs from release 1 in this: one of RELEASES."""
    micropython = "1.27.0" if what == "code" else "1.28.0"
    contents = release.Contents(2)
    files = release.release_files(contents, micropython)
    if what == "code":
        source = (ROOT / "device" / "thermometer.py").read_text()
        changed = source.replace(" C reported", " degrees reported")
        assert changed != source
        files["/thermometer.mpy"] = agent.compile_module(changed.encode(), "thermometer.py", micropython)
    # Not `make_release`: the image called 1.28.0 has a main.py of its own. Nobody executes it here.
    return release.add_bundle(firmware.app_image(micropython), release.bundle(files), contents, micropython)


def _form(name: str) -> str:
    if name in OTHERS:
        return OTHERS[name][1]
    return name.split()[1]


class _Maker:
    """The server that answers in one form, and the boards that ask it."""

    def __init__(self, folder: Path, running: server.Running, images: tuple, signed: tuple | None, slot_bytes: int):
        self._folder, self._running, self._signed, self._slot_bytes = folder, running, signed, slot_bytes
        self._old, self._new = images
        self._serials: set[str] = set()
        vendor = running.vendor
        self._template = vendor.create_template("Thermometer")["id"]
        self._product = vendor.create_product("Thermometer", self._template)["id"]
        self._old_version, self._new_version = self._publish(self._old), self._publish(self._new)
        vendor.set_target(self._template, self._old_version)

    def make(self, name: str) -> Contender:
        if name in OURS:
            return self._make_ours(name, name.endswith("signed"))
        thing = self._activate(name)
        self._running.vendor.pin(thing["thingId"], self._new_version)
        program = FLOORS.get(name) or OTHERS[name][0]
        path = f"/v1/things/{thing['thingId']}/versions/{self._new_version}/firmware.json"
        headers = {"X-ApiKey": thing["apiKey"], "Accept": _ACCEPT}
        digest = hashlib.sha256(self._new).digest()

        def led_to(url: str) -> dict[str, bytes]:
            return {"/target.mpy": _target(url, path, headers, digest)}

        files = {
            "/main.py": b"import contender\n",
            "/contender.mpy": agent.compile_module(
                (_HERE / "contenders" / f"{program}.py").read_bytes(), "contender.py"
            ),
            **led_to(self._running.url),
        }
        return Contender(name, self._flash(name, files), self._new, self._running.url, led_to)

    def _make_ours(self, name: str, signed: bool) -> Contender:
        image, key = self._signed if signed and self._signed else (self._new, None)
        serial = _serial(name)

        def led_to(url: str) -> dict[str, bytes]:
            # Reports come every second, so that a trial that fails does not keep the bench waiting.
            keys = [key] if key else []
            own = factory.own_files(serial, url, wifi=WIFI, signing_keys=keys, report_interval_s=1, start_spread_s=0)
            return {"/config.json": own["/config.json"]}

        thing = self._activate(name)
        confirm = f"{self._running.url}/v1/things/{thing['thingId']}/versions/{self._old_version}.json"
        httpx.put(confirm, headers={"X-ApiKey": thing["apiKey"]}, trust_env=False).raise_for_status()
        own = {"/serial.txt": serial.encode() + b"\n", **led_to(self._running.url)}
        flash = self._flash(name, {**agent.board_files(), **own})
        # From here on the agent knows what it is and has nothing to do.
        boot = board.power_on(flash, board.How())
        if boot.ended != "handover" or b"thingId" not in board.read_files(flash).get("/state.json", b""):
            raise board.BoardError(f"the agent did not come to be in step:\n{boot.console}")
        version = self._publish(image) if signed else self._new_version
        self._running.vendor.pin(thing["thingId"], version)
        if name in SMALL:
            self._wait_for_patches(version, keep_delta="delta" in name)
        return Contender(name, flash, image, self._running.url, led_to)

    def _wait_for_patches(self, version: str, keep_delta: bool) -> None:
        """Wait until the server has made its patches; without the delta, it is as for a base that it does not know."""
        deadline_s = time.monotonic() + _PATCHES_WITHIN_S
        while not all(each["ready"] for each in self._running.vendor.downloads(self._template, version)):
            if time.monotonic() > deadline_s:
                raise board.BoardError(f"the server has made no patches within {_PATCHES_WITHIN_S} s")
            time.sleep(0.2)
        if not keep_delta:
            for path in (self._folder / "patches").glob(f"{self._old[-32:-16].hex()}-*"):
                path.write_bytes(b"")  # as the server marks a patch that is not worth it

    def _flash(self, name: str, files: dict[str, bytes]) -> Path:
        path = self._folder / f"{name.replace(' ', '-')}.bin"
        path.write_bytes(_flash_image(files, self._old, self._slot_bytes))
        return path

    def _activate(self, name: str) -> dict:
        serial = _serial(name)
        if serial not in self._serials:
            self._running.vendor.add_serials(self._product, [serial])
            self._serials.add(serial)
        answer = httpx.put(f"{self._running.url}/v1/things/activate/{serial}.json", trust_env=False)
        return answer.raise_for_status().json()

    def _publish(self, image: bytes) -> str:
        path = self._folder / "image.bin"
        path.write_bytes(image)
        return self._running.vendor.create_version(self._template, path)["id"]


def _serial(name: str) -> str:
    return "THERM-" + name.replace(" ", "-")


def _target(url: str, path: str, headers: dict[str, str], digest: bytes) -> bytes:
    """What the other ways to update import: where the firmware is, as a module of constants."""
    server = urlsplit(url)
    head = "".join(f"{key}: {value}\r\n" for key, value in {"Host": server.netloc, **headers}.items())
    request = f"GET {path} HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode()
    source = f"""
from socket import getaddrinfo
ADDRESS = getaddrinfo({server.hostname!r}, {server.port})[0][-1]
REQUEST = {request!r}
URL = {url + path!r}
HEADERS = {headers!r}
DIGEST = {digest!r}
"""
    return agent.compile_module(source.encode(), "target.py")


def _flash_image(files: dict[str, bytes], app: bytes, slot_bytes: int) -> bytes:
    """A flash chip like the factory's, with slots of another size (and no boot loader, which the desk plays)."""
    places = [(label, *numbers) for label, *numbers in factory.LAYOUT if label not in ("ota_0", "ota_1", "vfs")]
    start = _FIRST_SLOT_ADDRESS
    for label, kind, subtype, size in (
        ("ota_0", 0, 0x10, slot_bytes),
        ("ota_1", 0, 0x11, slot_bytes),
        ("vfs", 1, 0x81, _VFS_BYTES),
    ):
        places.append((label, kind, subtype, start, size))
        start += size
    image = bytearray(b"\xff" * start)
    table = factory.partition_table(places)
    image[factory.TABLE_ADDRESS : factory.TABLE_ADDRESS + len(table)] = table
    image[_FIRST_SLOT_ADDRESS : _FIRST_SLOT_ADDRESS + len(app)] = app
    image[-_VFS_BYTES:] = factory.file_system(files, _VFS_BYTES)
    return bytes(image)


def sign(image: bytes, folder: Path) -> tuple[bytes, str]:
    """`image` signed as `espsecure sign-data --version 2` does with a new key, and that key's digest in hex."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    key, source, target, digest = (folder / name for name in ("key.pem", "unsigned.bin", "signed.bin", "digest"))
    key.write_bytes(private.private_bytes(*form))
    source.write_bytes(image)
    with contextlib.redirect_stdout(None), key.open("rb") as key_file, source.open("rb") as file:
        espsecure.sign_data("2", [key_file], str(target), False, False, None, [], [], file)
        key_file.seek(0)
        espsecure.digest_sbv2_public_key(key_file, str(digest))
    return target.read_bytes(), digest.read_bytes().hex()
