"""The vendor's commands: each a few calls to a running server, and what it prints."""

import argparse
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from tools.firmware import FirmwareError, extract_app

from .client import Vendor, VendorError

_DESCRIPTOR = slice(32, 36)
_DESCRIPTOR_MAGIC = b"\x32\x54\xcd\xab"
_STATUS = "status"  # the property, unless the devices' /config.json names another


class UsageError(Exception):
    """The command cannot be meant like this."""


def create_product(vendor: Vendor, options: argparse.Namespace) -> None:
    """Create a product of a template."""
    template = pick("template", vendor.templates(), options.template)
    product = vendor.create_product(options.name, template["id"], options.description)
    print(f"product {product['name']} created: {product['id']}")


def list_products(vendor: Vendor, options: argparse.Namespace) -> None:
    """List the products: name, Id, template."""
    names = {template["id"]: template["name"] for template in vendor.templates()}
    rows = [(product["name"], product["id"], names[product["templateId"]]) for product in vendor.products()]
    _show(("product", "Id", "template"), rows)


def add_serials(vendor: Vendor, options: argparse.Namespace) -> None:
    """Register the serial numbers given, and those of a file, under a product."""
    serials = list(options.serials)
    if options.file:
        serials += options.file.read_text(errors="replace").split()
    if not serials:
        raise UsageError("no serial number is given")
    product = pick("product", vendor.products(), options.product)
    vendor.add_serials(product["id"], serials)
    print(f"{len(serials)} serial number{'s' * (len(serials) > 1)} added to {product['name']}")


def list_serials(vendor: Vendor, options: argparse.Namespace) -> None:
    """List the serial numbers registered under a product."""
    product = pick("product", vendor.products(), options.product)
    _show(("serial number",), [(serial,) for serial in vendor.serials(product["id"])])


def create_template(vendor: Vendor, options: argparse.Namespace) -> None:
    """Create a template."""
    template = vendor.create_template(options.name, options.description)
    print(f"template {template['name']} created: {template['id']}")


def list_templates(vendor: Vendor, options: argparse.Namespace) -> None:
    """List the templates: name, Id, target version."""
    rows = [(found["name"], found["id"], _name(found["targetVersion"])) for found in vendor.templates()]
    _show(("template", "Id", "target"), rows)


def create_version(vendor: Vendor, options: argparse.Namespace) -> None:
    """Publish a firmware file as the template's next version."""
    template = pick("template", vendor.templates(), options.template)
    with _app_file(options.file, options.extract_app) as path, upload_progress(path.stat().st_size) as progress:
        version = vendor.create_version(template["id"], path, options.description, progress)
    print(f"version {version['name']} created: {version['id']}, {version['sizeBytes']} bytes")


def list_versions(vendor: Vendor, options: argparse.Namespace) -> None:
    """List a template's versions: name, Id, bytes, time, whether it is the target, description."""
    template = pick("template", vendor.templates(), options.template)
    rows = []
    for version in vendor.versions(template["id"]):
        is_target = bool(template["targetVersion"]) and version["id"] == template["targetVersion"]["id"]
        mark = "target" if is_target else ""
        size_bytes = str(version["sizeBytes"])
        rows.append((version["name"], version["id"], size_bytes, version["createdAt"], mark, version["description"]))
    _show(("version", "Id", "bytes", "created", "target", "description"), rows)


def set_target(vendor: Vendor, options: argparse.Namespace) -> None:
    """Set the version that a template's things should run."""
    template = pick("template", vendor.templates(), options.template)
    version = pick("version", vendor.versions(template["id"]), options.version)
    vendor.set_target(template["id"], version["id"])
    print(f"target of {template['name']}: version {version['name']}")


def list_things(vendor: Vendor, options: argparse.Namespace) -> None:
    """List the things: serial number, name, Id, current and target version, status, how the last update went."""
    rows = []
    things = vendor.things()
    names = _version_names(vendor, things)
    for thing in things:
        versions = (_name(thing["currentVersion"]), _name(thing["targetVersion"]))
        update = _last_update(thing, names)
        rows.append((thing["serialNumber"], thing["name"], thing["id"], *versions, thing["status"], update))
    _show(("serial number", "name", "Id", "current", "target", "status", "last update"), rows)


def show_thing(vendor: Vendor, options: argparse.Namespace) -> None:
    """Show all about one thing, its properties included."""
    thing = pick("thing", vendor.things(), options.thing)
    since = f" (since {thing['currentVersionSince']})" if thing["currentVersion"] else ""
    rows = [
        ("serial number", thing["serialNumber"]),
        ("name", thing["name"]),
        ("description", thing["description"] or ""),
        ("Id", thing["id"]),
        ("current version", _name(thing["currentVersion"]) + since),
        ("target version", _name(thing["targetVersion"]) + (" (pinned)" if thing["pinned"] else "")),
        ("status", thing["status"]),
        ("last update", _last_update(thing, _version_names(vendor, [thing]))),
    ]
    rows += [(f"property {name}", str(value)) for name, value in thing["properties"].items()]
    _show(None, rows)


def pin_thing(vendor: Vendor, options: argparse.Namespace) -> None:
    """Pin one thing to a version."""
    thing = pick("thing", vendor.things(), options.thing)
    version = pick("version", vendor.versions(thing["templateId"]), options.version)
    vendor.pin(thing["id"], version["id"])
    print(f"{thing['serialNumber']}: pinned to version {version['name']}")


def unpin_thing(vendor: Vendor, options: argparse.Namespace) -> None:
    """Let one thing follow its template's target again."""
    thing = pick("thing", vendor.things(), options.thing)
    vendor.unpin(thing["id"])
    print(f"{thing['serialNumber']}: follows its template's target")


def delete_thing(vendor: Vendor, options: argparse.Namespace) -> None:
    """Have the server forget one thing; its serial number stays registered."""
    thing = pick("thing", vendor.things(), options.thing)
    vendor.delete_thing(thing["id"])
    print(f"{thing['serialNumber']}: thing {thing['id']} deleted; the next activation makes a new one")


def _version_names(vendor: Vendor, things: list[dict]) -> dict[str, str]:
    """The names of all versions that these things may run, by Id."""
    templates = {thing["templateId"] for thing in things}
    return {version["id"]: version["name"] for template in templates for version in vendor.versions(template)}


def _last_update(thing: dict, names: dict[str, str]) -> str:
    """How the thing's last try to update went, as the device tells it in its property "status"; "-" if it does not."""
    told = thing["properties"].get(_STATUS)
    if not isinstance(told, dict) or not {"phase", "versionId", "attempt"} <= told.keys():
        return "-"
    version = names.get(str(told["versionId"]), str(told["versionId"]))
    why = f", {told['code']}" if told.get("code") else ""
    return f"{told['phase']}: version {version}, attempt {told['attempt']}{why}"


def pick(kind: str, candidates: list[dict], wanted: str) -> dict:
    """The one that `wanted` names: by Id or serial number, else by name. VendorError when there is none, or more."""
    for key in ("id", "serialNumber", "name"):
        found = [candidate for candidate in candidates if candidate.get(key) == wanted]
        if len(found) == 1:
            return found[0]
        if found:
            raise VendorError(400, "", f"{len(found)} {kind}s have the {key} {wanted!r}: give the Id")
    raise VendorError(404, "", f"there is no {kind} {wanted!r} ({kind} list shows what there is)")


@contextmanager
def upload_progress(size_bytes: int) -> Iterator[Callable[[int], None] | None]:
    """What to tell the bytes sent so far: a bar, when a person watches."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("uploading"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=size_bytes)
        yield lambda sent_bytes: bar.update(task, completed=sent_bytes)


@contextmanager
def _app_file(path: Path, extract: bool) -> Iterator[Path]:
    """The file to upload: `path`, or what `extract` takes out of it. UsageError when a device could never run it."""
    with path.open("rb") as file:
        head = file.read(_DESCRIPTOR.stop)
    if not head:
        raise UsageError(f"{path} is empty")
    if extract:
        try:
            app = extract_app(path)
        except FirmwareError as error:
            raise UsageError(str(error)) from error
        with NamedTemporaryFile(suffix=".bin") as copy:
            copy.write(app)
            copy.flush()
            yield Path(copy.name)
        return
    if head[:1] == b"\xe9" and head[_DESCRIPTOR] != _DESCRIPTOR_MAGIC:
        raise UsageError(
            f"{path} begins with a boot loader, not with an app: it looks like a combined ESP32 image. Upload the app"
            " alone, or let --extract-app take it out (by tools.firmware.extract_app)"
        )
    yield path


def _show(header: tuple[str, ...] | None, rows: Iterable[tuple[str, ...]]) -> None:
    """A table for a person; for a program, lines of fields separated by tabs."""
    console = Console()
    # Names and values come from devices: none of them may send codes to the terminal or break a line.
    rows = [tuple("".join(char if char.isprintable() else "?" for char in cell) for cell in row) for row in rows]
    if not console.is_terminal:
        for row in rows:
            print("\t".join(row))
        return
    table = Table(show_header=header is not None, box=None)
    for title in header or rows[0]:
        # An Id that is cut short is of no use: on a narrow terminal it takes two lines.
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def _name(version: dict | None) -> str:
    return version["name"] if version else "-"
