"""`make publish`: a firmware file becomes a template's next version, checked as a device will check it, and signed.

An external signer (SIGN_COMMAND) is a command line, run without a shell. In it `{image}` stands for a file with the
padded image, and `{signature}` for the file that it must write: the 384 bytes of an RSA-PSS signature with SHA-256 and
a salt of 32 bytes; without either, both are appended as arguments. SIGNING_KEY then is the public key. A signer that
makes the whole format, such as `espsecure sign-data --hsm`, writes the signed image into the file `{signed}` instead.
"""

import argparse
import hashlib
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

from tools import espressif, factory, firmware, ondevice, release
from tools.arguments import failed, file_name, free_text
from tools.factory import FLASH_BYTES, FLASH_SIZES, FORMER_SLOT_BYTES, ROOT, layout, place
from tools.factory.files import write_whole
from tools.factory.settings import check_server, is_own_address, read_ca
from tools.server.cli import add_connection, open_vendor
from tools.server.client import Vendor, VendorError
from tools.server.commands import UsageError, pick, upload_progress

FOLDER = ROOT / "build" / "publish"
_MICROPYTHON = "1.27.0"
_EPOCH_2000_S = 946684800
_PATCHES_WITHIN_S = 180
_PATCHES_POLL_S = 0.5
_SERVER_VARIABLE = "GADGETKEEPER_SERVER"
_BLOCK_KEY = slice(36, 812)  # modulus, exponent and the two numbers made of them, in a signature block
_BLOCK_MAGIC = b"\xe7\x02"
_ANY_ESP32 = bytes(288)  # the head of an image of secure version 0, as far as a device's check looks at it


class PublishError(Exception):
    """A firmware that cannot be published like this; the text says why and what to do."""


class Parser(argparse.ArgumentParser):
    """One line for wrong arguments, instead of the usage text and a line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def main(arguments: list[str] | None = None) -> int:
    """Publish. 0: done, 1: it failed, 2: wrong arguments; both with one line on standard error."""
    try:
        publish(_parse(arguments))
    except UsageError as error:
        return failed("publish", error, 2)
    except (
        PublishError,
        VendorError,
        espressif.ImageError,
        firmware.FirmwareError,
        release.ReleaseError,
        factory.FactoryError,
        OSError,
    ) as error:
        return failed("publish", error, 1)
    except KeyboardInterrupt:
        return failed("publish", "interrupted", 1)
    return 0


def publish(options: argparse.Namespace) -> None:
    """Go through all of it; what can be checked is checked before anything is signed or sent, and what has been done
    already is not done again."""
    app = make_app(options)
    _check(app, options.flash_size, [])
    found = release.read_release(app, str(options.firmware))
    say(f"release {found.number} of {found.product} on MicroPython {found.micropython}, {len(app):,} bytes")
    confirm_changes(found.manifest, options.yes)
    with open_vendor(options) as vendor:
        template = _template(vendor, options.template)
        published = {version["name"]: version for version in vendor.versions(template["id"])}
        path = FOLDER / f"{template['id']}-{options.version}.bin"
        if options.version in published:
            version = published[options.version]
            _require_same(version, app, path, template, published, options)
            published_as = f"version {options.version} of {template['name']} is published already"
            say(f"{published_as}, with this firmware: {version['id']}")
        else:
            expected = _next(published)
            if options.version != expected:
                raise PublishError(f"the next version of {template['name']} is {expected}, not {options.version}")
            _make(options, app, path)
            _note_former_boards(path.stat().st_size, options.flash_size)
            version = _upload(vendor, template, path, options)
        _show_downloads(vendor, template, version)
        if options.target:
            vendor.set_target(template["id"], version["id"])
            say(f"target of {template['name']}: version {version['name']}")


def say(text: str) -> None:
    """Print what has been done."""
    print(text, flush=True)


def read_app(path: Path) -> bytes:
    """The app of a firmware file, with the signature that it may carry. ImageError or FirmwareError when there is
    none, or when it is damaged or for another chip."""
    espressif.read_image(path.read_bytes(), str(path))
    app = firmware.extract_app(path)
    espressif.read_image(app, f"{path}: its app")
    return app


def make_app(options: argparse.Namespace) -> bytes:
    """Return the release to publish: the one in the firmware file, or one made of the MicroPython in it, with the code
    and the settings that the options name. ReleaseError for one that no device could live on."""
    app = read_app(options.firmware)
    try:
        found = release.read_release(app, str(options.firmware))
    except release.ReleaseError:
        return release.make_release(espressif.read_image(app, "the app").data, _contents(options))
    release.check_micropython(app)
    if found.number != int(options.version):
        raise PublishError(f"{options.firmware} is release {found.number}, and VERSION={options.version} was asked for")
    if options.app or options.keys or options.ca_for_devices or options.new_server or options.floor:
        raise PublishError(
            f"{options.firmware} is a release already: APP, KEYS, CA, NEW_SERVER and FLOOR need a MicroPython"
        )
    return app


def confirm_changes(manifest: dict, yes: bool) -> None:
    """Show what the release changes about trust, and have it confirmed. PublishError without a yes."""
    changes = dict(manifest.get("settings", {}))
    if manifest.get("floor"):
        changes["floor"] = manifest["floor"]
    if not changes:
        return
    say("this release changes on every device that proves it:")
    for name, value in changes.items():
        say(f"  {name}: {', '.join(value) if isinstance(value, list) else value}")
    if yes:
        return
    if not sys.stdin.isatty():
        raise PublishError("what it changes must be confirmed: YES=1")
    if input("publish it? [y/N] ").strip().lower() not in ("y", "yes"):
        raise PublishError("not published")


def _contents(options: argparse.Namespace) -> release.Contents:
    settings: dict[str, object] = {}
    if options.keys:
        settings["signing_keys"] = [espressif.key_digest(key) for key in options.keys]
    if options.new_server:
        settings["server"] = options.new_server
    ca = read_ca(options.ca_for_devices) if options.ca_for_devices else None
    built_at = int(os.environ.get("SOURCE_DATE_EPOCH") or time.time()) - _EPOCH_2000_S
    return release.Contents(int(options.version), options.product, options.floor, settings, ca, options.app, built_at)


def sign(app: bytes, key: Path | None, command: str | None) -> tuple[bytes, str]:
    """The app with a signature by the private key in the file or by an external signer, and the key's digest."""
    plain = espressif.read_image(app, "the app").data
    if not command:
        return espressif.sign(plain, key), espressif.key_digest(key)
    with TemporaryDirectory() as folder:
        files = {name: Path(folder, f"{name}.bin") for name in ("image", "signature", "signed")}
        files["image"].write_bytes(espressif.pad(plain))
        produced = _run_signer(command, files)
        if produced == "signed":
            signed = files["signed"].read_bytes()
            if signed[: -espressif.SECTOR_BYTES] != espressif.pad(plain):
                raise PublishError("the SIGN_COMMAND has signed another image than it was given")
            return signed, espressif.key_digest(key) if key else _digest_of(signed)
        public = Path(folder, "public.pem")
        public.write_bytes(espressif.public_key(key))
        return espressif.attach_signature(plain, public, files["signature"]), espressif.key_digest(key)


def _make(options: argparse.Namespace, app: bytes, path: Path) -> None:
    """Write what is to be published. A signature that is there is kept: no two are alike, and an interrupted
    publication could not be told from another firmware."""
    if not options.signing_key and not options.sign_command:
        _note_signature(app)
        write_whole(path, app)
        return
    plain = espressif.pad(espressif.read_image(app, "the app").data)
    if options.signing_key and _is_signed(path, plain, espressif.key_digest(options.signing_key), options.flash_size):
        say(f"signed already: {path.relative_to(ROOT)}")
        return
    signed, digest = sign(app, options.signing_key, options.sign_command)
    _check(signed, options.flash_size, [digest])
    write_whole(path, signed)
    say(f"signed with key {digest}, checked as a device checks it")


def _note_signature(app: bytes) -> None:
    if app[-espressif.SECTOR_BYTES :].startswith(_BLOCK_MAGIC):
        digest = _digest_of(app)
        _check(app, "16MB", [digest])
        say(f"it came signed with key {digest}")
    else:
        say("not signed: devices that were made with a SIGNING_KEY will refuse it")


def _note_former_boards(size_bytes: int, flash_size: str) -> None:
    if FLASH_SIZES[flash_size] == FLASH_BYTES and size_bytes > FORMER_SLOT_BYTES:
        say(f"boards made before November 2026 have slots of {FORMER_SLOT_BYTES} bytes and will refuse it")


def _is_signed(path: Path, plain: bytes, digest: str, flash_size: str) -> bool:
    if not path.is_file():
        return False
    signed = path.read_bytes()
    if not signed.startswith(plain):
        return False
    try:
        _check(signed, flash_size, [digest])
    except PublishError:
        return False
    return True


def _check(app: bytes, flash_size: str, trusted: list[str]) -> None:
    product = release.read_release(app, "the firmware").product
    slot = place("ota_0", layout(FLASH_SIZES[flash_size]))
    try:
        ondevice.check_firmware(app, _ANY_ESP32, slot.size, trusted, product)
    except ondevice.Refused as error:
        raise PublishError(f"a device would refuse it: {error}") from error


def _require_same(
    version: dict, app: bytes, path: Path, template: dict, published: dict, options: argparse.Namespace
) -> None:
    """PublishError unless that version is this firmware, with the signature that is asked for, if one is."""
    wanted = options.signing_key or options.sign_command
    digest = espressif.key_digest(options.signing_key) if options.signing_key else None
    for content in (app, path.read_bytes() if path.is_file() else b""):
        signed = content[-espressif.SECTOR_BYTES :].startswith(_BLOCK_MAGIC)
        if wanted and not (signed and digest in (None, _digest_of(content))):
            continue
        is_this = content.startswith(espressif.read_image(app, "the app").data)
        if is_this and hashlib.sha256(content).hexdigest() == version["sha256"]:
            return
    raise PublishError(
        f"version {version['name']} of {template['name']} is published already, with another firmware, or another "
        f"signature or none: the next is VERSION={_next(published)}"
    )


def _upload(vendor: Vendor, template: dict, path: Path, options: argparse.Namespace) -> dict:
    with upload_progress(path.stat().st_size) as progress:
        version = vendor.create_version(template["id"], path, options.description, progress)
    say(f"version {version['name']} of {template['name']} published: {version['id']}")
    if version["sha256"] != hashlib.sha256(path.read_bytes()).hexdigest():
        raise PublishError("the server has stored other bytes than were sent: do not make it the target")
    if version["name"] != options.version:
        raise PublishError(
            f"somebody else has published at the same moment: this became version {version['name']}, "
            f"not {options.version}; the target is as it was"
        )
    return version


def _show_downloads(vendor: Vendor, template: dict, version: dict) -> None:
    """Say what each kind of device will download, when the server has made its patches; a server without any says
    nothing. A version becomes the target after that, so that nobody takes the whole of it for want of patience."""
    deadline_s = time.monotonic() + _PATCHES_WITHIN_S
    try:
        downloads = vendor.downloads(template["id"], version["id"])
        while not all(each["ready"] for each in downloads) and time.monotonic() < deadline_s:
            time.sleep(_PATCHES_POLL_S)
            downloads = vendor.downloads(template["id"], version["id"])
    except VendorError as error:
        if error.status == 404:
            return
        raise
    say(f"what a device will download of {version['sizeBytes']:,} bytes:")
    for each in downloads:
        who = "any other" if each["runs"] is None else f"{each['things']} on version {each['runs']}"
        late = "" if each["ready"] else ", its patch is not ready yet"
        say(f"  {who}: {each['sizeBytes']:,} bytes, {each['sizeBytes'] / version['sizeBytes']:.2%}{late}")
    say("  one that knows no patches: all of it")


def _template(vendor: Vendor, wanted: str | None) -> dict:
    templates = vendor.templates()
    if wanted:
        return pick("template", templates, wanted)
    if not templates:
        raise PublishError("there is no template yet: .venv/bin/python -m tools.server template create NAME")
    if len(templates) > 1:
        names = ", ".join(template["name"] for template in templates)
        raise PublishError(f"there are {len(templates)} templates, name one of {names}: TEMPLATE=…")
    return templates[0]


def _next(published: dict) -> str:
    return str(max((int(name) for name in published if name.isdigit()), default=0) + 1)


def _run_signer(command: str, files: dict[str, Path]) -> str:
    """Run the external signer; "signature" or "signed", whichever it was asked for and has written."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"SIGN_COMMAND: {error}") from error
    if "{" not in command:
        words += ["{image}", "{signature}"]
    wanted = "signed" if any("{signed}" in word for word in words) else "signature"
    for name, path in files.items():
        words = [word.replace(f"{{{name}}}", str(path)) for word in words]
    try:
        done = subprocess.run(words)
    except OSError as error:
        raise PublishError(f"the SIGN_COMMAND cannot be run: {error}") from error
    if done.returncode:
        raise PublishError(f"the SIGN_COMMAND ended with status {done.returncode}")
    if not files[wanted].is_file():
        raise PublishError(f"the SIGN_COMMAND has not written the file that {{{wanted}}} stands for")
    return wanted


def _digest_of(signed: bytes) -> str:
    return hashlib.sha256(signed[-espressif.SECTOR_BYTES :][_BLOCK_KEY]).hexdigest()


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = Parser(prog="thermometer publish", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--firmware", type=_file, help="a MicroPython (combined or app), or a release (default: MicroPython v1.27.0)"
    )
    parser.add_argument("--app", type=file_name, help="folder with product code in place of the thermometer's")
    parser.add_argument(
        "--product",
        type=free_text,
        default=release.PRODUCT,
        help="the product that the devices are (default: %(default)s)",
    )
    parser.add_argument(
        "--floor", type=_floor, default=0, help="no release below it is ever installed once this has proven itself"
    )
    parser.add_argument(
        "--keys", type=_file, nargs="+", default=[], metavar="PEM", help="whose signatures devices take from then on"
    )
    parser.add_argument(
        "--ca-for-devices", type=_file, metavar="PEM", help="whom devices trust to vouch for the server"
    )
    parser.add_argument(
        "--new-server", type=_new_server, metavar="URL", help="the server that devices go to from then on"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask whether these changes are meant")
    parser.add_argument("--version", type=_version, required=True, help="the name it will have: the next number")
    parser.add_argument("--signing-key", type=_file, metavar="PEM", help="private; with --sign-command, public")
    parser.add_argument("--sign-command", metavar="COMMAND", help="an external signer, see above")
    parser.add_argument("--template", type=free_text, help="default: the only one there is")
    parser.add_argument("--description", type=free_text, default="")
    parser.add_argument("--target", action="store_true", help="make it the template's target version")
    parser.add_argument("--flash-size", choices=FLASH_SIZES, default="4MB", help="of the smallest device in the field")
    add_connection(parser, *([os.environ[_SERVER_VARIABLE]] if os.environ.get(_SERVER_VARIABLE) else []))
    options = parser.parse_args(arguments)
    options.firmware = options.firmware or firmware.combined_image(_MICROPYTHON)
    if options.sign_command and not options.signing_key and "{signed}" not in options.sign_command:
        raise UsageError("SIGN_COMMAND gives a signature: name its public key with SIGNING_KEY=…")
    return options


def _file(text: str) -> Path:
    if not file_name(text).is_file():
        raise argparse.ArgumentTypeError(f"{text!r}: no such file")
    return Path(text)


def _floor(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is no release's number (FLOOR=…)")
    return int(text)


def _new_server(text: str) -> str:
    try:
        check_server(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if is_own_address(text):
        raise argparse.ArgumentTypeError(f"{text} is every board for itself: none would find the server (NEW_SERVER=…)")
    return text


def _version(text: str) -> str:
    if not (text.isascii() and text.isdigit()) or text.startswith("0"):
        raise argparse.ArgumentTypeError(f"{text!r} is no version: they are 1, 2, 3 and so on (VERSION=…)")
    return text


if __name__ == "__main__":
    sys.exit(main())
