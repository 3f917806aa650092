"""The vendor's commands: each a few calls to a running server, and what it prints.

What draws tables is loaded when one is drawn: a server that serves has these commands in its memory, too."""

import argparse
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from . import plan
from .client import Vendor, VendorError

_ID = re.compile("[0-9a-f]{32}")
_MEMBERS_SHOWN = 20
_STATUS = "status"  # the property, unless the devices' /config.json names another


class UsageError(Exception):
    """The command cannot be meant like this."""


def create_product(vendor: Vendor, options: argparse.Namespace) -> None:
    """Create a product of a template."""
    template = pick("template", vendor.templates(), options.template)
    product = vendor.create_product(options.name, template["id"], options.description, options.require_secret)
    print(f"product {product['name']} created: {product['id']}")


def list_products(vendor: Vendor, options: argparse.Namespace) -> None:
    """List the products: name, Id, template, whether activation needs the device secret."""
    names = {template["id"]: template["name"] for template in vendor.templates()}
    rows = []
    for product in vendor.products():
        secret = "required" if product["requiresDeviceSecret"] else "-"
        rows.append((product["name"], product["id"], names[product["templateId"]], secret))
    _show(("product", "Id", "template", "device secret"), rows)


def require_secret(vendor: Vendor, options: argparse.Namespace) -> None:
    """Say whether a product's boards must show their device secret to be activated."""
    product = pick("product", vendor.products(), options.product)
    vendor.require_device_secret(product["id"], options.required == "yes")
    print(f"{product['name']}: device secret {'required' if options.required == 'yes' else 'not required'}")


def add_serials(vendor: Vendor, options: argparse.Namespace) -> None:
    """Register the serial numbers given, and those of a file, under a product."""
    serials = list(options.serials)
    if options.file:
        serials += read_serials(options.file)
    if not serials:
        raise UsageError("no serial number is given")
    product = pick("product", vendor.products(), options.product)
    vendor.add_serials(product["id"], serials)
    print(f"{len(serials)} serial number{'s' * (len(serials) > 1)} added to {product['name']}")


def read_serials(path: Path) -> list[str]:
    """The serial numbers of a file that `make batch` reads. UsageError names the lines that are wrong."""
    from tools.factory import serials
    from tools.factory.errors import FactoryError

    try:
        return serials.read_serials(path)
    except FactoryError as error:
        raise UsageError(str(error).removesuffix(": nothing was made")) from error


def set_secrets(vendor: Vendor, options: argparse.Namespace) -> None:
    """Tell the server by which device secret each board is known, from its image or the manufacturing record. Only
    hashes leave this machine."""
    hashes = read_secrets(options.file)
    if not hashes:
        raise UsageError(f"{options.file} has no device secret")
    for serial, sha256 in hashes.items():
        vendor.set_secret(serial, sha256)
    print(f"device secret of {', '.join(hashes) if len(hashes) < 4 else f'{len(hashes)} boards'} registered")


def read_secrets(path: Path) -> dict[str, str]:
    """The hashes of device secrets, by serial number, in a flash image or a manufacturing record. UsageError when the
    file is neither."""
    from tools.factory.errors import FactoryError
    from tools.factory.flash import device_secret_sha256, read_image
    from tools.factory.record import Record

    with path.open("rb") as file:
        is_record = file.read(1) == b"{"
    try:
        if is_record:
            return Record(path).read().secrets()
        image, serial = read_image(path)
        sha256 = device_secret_sha256(image)
    except FactoryError as error:
        raise UsageError(str(error)) from error
    return {serial: sha256} if sha256 else {}


def list_serials(vendor: Vendor, options: argparse.Namespace) -> None:
    """List the serial numbers registered under a product."""
    product = pick("product", vendor.products(), options.product)
    _show(("serial number",), [(serial,) for serial in vendor.serials(product["id"])])


def block_serial(vendor: Vendor, options: argparse.Namespace) -> None:
    """Lock a stolen board out."""
    vendor.block_serial(options.serial)
    print(f"{options.serial}: blocked; its key is no longer valid")


def unblock_serial(vendor: Vendor, options: argparse.Namespace) -> None:
    """Let a blocked board in again."""
    vendor.block_serial(options.serial, is_blocked=False)
    print(f"{options.serial}: may be activated again")


def remove_serial(vendor: Vendor, options: argparse.Namespace) -> None:
    """Take back a serial number that was never activated."""
    vendor.remove_serial(options.serial)
    print(f"{options.serial}: removed")


def create_template(vendor: Vendor, options: argparse.Namespace) -> None:
    """Create a template."""
    template = vendor.create_template(options.name, options.description)
    print(f"template {template['name']} created: {template['id']}")


def list_templates(vendor: Vendor, options: argparse.Namespace) -> None:
    """List the templates: name, Id, target version."""
    rows = [(found["name"], found["id"], _name(found["targetVersion"])) for found in vendor.templates()]
    _show(("template", "Id", "target"), rows)


def create_version(vendor: Vendor, options: argparse.Namespace) -> None:
    """Publish a release as the template's next version."""
    template = pick("template", vendor.templates(), options.template)
    with upload_progress(options.file.stat().st_size) as progress:
        version = vendor.create_version(template["id"], options.file, options.description, progress)
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


def remove_version(vendor: Vendor, options: argparse.Namespace) -> None:
    """Remove a version that nothing runs and nothing should run."""
    template = pick("template", vendor.templates(), options.template)
    version = pick("version", vendor.versions(template["id"]), options.version)
    vendor.remove_version(template["id"], version["id"])
    print(f"version {version['name']} of {template['name']} removed")


def set_target(vendor: Vendor, options: argparse.Namespace) -> None:
    """Set the version that a template's things should run."""
    template = pick("template", vendor.templates(), options.template)
    version = pick("version", vendor.versions(template["id"]), options.version)
    vendor.set_target(template["id"], version["id"], options.force)
    print(f"target of {template['name']}: version {version['name']}")


def start_rollout(vendor: Vendor, options: argparse.Namespace) -> None:
    """Roll a version out to a template's things, stage by stage."""
    template = pick("template", vendor.templates(), options.template)
    version = pick("version", vendor.versions(template["id"]), options.version)
    wanted = {
        "canaries": options.canaries,
        "stages": options.stages,
        "failedShareMaxPercent": options.pause_above,
        "countMin": options.count_min,
        "silentAfterS": options.silent_after,
    }
    given = {name: value for name, value in wanted.items() if value is not None}
    rollout = vendor.start_rollout(template["id"], version["id"], options.force, **given)
    print(f"rollout {rollout['id']} of version {version['name']} started: {_stages_text(rollout)}")


def list_rollouts(vendor: Vendor, options: argparse.Namespace) -> None:
    """List the newest rollouts: Id, version, state, stage, how many were told, confirmed, failed, are silent."""
    template = options.template and pick("template", vendor.templates(), options.template)
    rows = []
    for each in vendor.rollouts(template["id"] if template else None):
        counts = (str(each[name]) for name in ("told", "confirmed", "failed", "silent"))
        stage = f"{each['stage']} of {len(each['stages'])}"
        rows.append((each["id"], each["version"]["name"], each["state"], stage, *counts, each["createdAt"]))
    header = ("rollout", "version", "state", "stage", "told", "confirmed", "failed", "silent", "started")
    _show(header, rows)


def show_rollout(vendor: Vendor, options: argparse.Namespace) -> None:
    """Show all about one rollout, with the first of the things that failed or are silent."""
    rollout = find_rollout(vendor, options.rollout)
    rows = [
        ("rollout", rollout["id"]),
        ("version", rollout["version"]["name"]),
        ("state", rollout["state"] + (f": {rollout['reason']}" if rollout["reason"] else "")),
        ("stages", _stages_text(rollout)),
        ("stage", f"{rollout['stage']}, since {rollout['stageSince']}"),
        ("waits", rollout["waitsFor"] or "-"),
        ("pauses above", f"{rollout['failedShareMaxPercent']:g} % of {rollout['countMin']} things or more"),
        ("silent after", plan.time_text(rollout["silentAfterS"])),
        ("started", f"{rollout['createdAt']} by {rollout['createdBy']}"),
    ]
    rows += [(name, str(rollout[name])) for name in ("told", "confirmed", "failed", "silent")]
    for outcome in ("failed", "silent"):
        for member in vendor.rollout_members(rollout["id"], outcome, limit=_MEMBERS_SHOWN):
            rows.append((outcome, f"{member['serialNumber']}, told {member['toldAt']}"))
    _show(None, rows)


def pause_rollout(vendor: Vendor, options: argparse.Namespace) -> None:
    """Tell nobody else the version."""
    rollout = vendor.pause_rollout(find_rollout(vendor, options.rollout)["id"], options.reason)
    print(f"rollout of version {rollout['version']['name']} paused: who was told the version keeps it")


def resume_rollout(vendor: Vendor, options: argparse.Namespace) -> None:
    """Go on with a rollout that is paused."""
    rollout = vendor.resume_rollout(find_rollout(vendor, options.rollout)["id"])
    print(f"rollout of version {rollout['version']['name']} goes on, in stage {rollout['stage']}")


def cancel_rollout(vendor: Vendor, options: argparse.Namespace) -> None:
    """End a rollout: its things follow the template's target again."""
    rollout = vendor.cancel_rollout(find_rollout(vendor, options.rollout)["id"], options.reason)
    print(f"rollout of version {rollout['version']['name']} cancelled: all things follow the template's target again")


def find_rollout(vendor: Vendor, wanted: str) -> dict:
    """The rollout that `wanted` names: by its Id, or by its template, whose newest it is."""
    if _ID.fullmatch(wanted):
        try:
            return vendor.rollout(wanted)
        except VendorError as error:
            if error.status != 404:
                raise
    template = pick("template", vendor.templates(), wanted)
    newest = vendor.rollouts(template["id"])[:1]
    if not newest:
        raise VendorError(404, "", f"{template['name']} has no rollout yet")
    return newest[0]


def _stages_text(rollout: dict) -> str:
    stages = rollout["stages"]
    return ", ".join(f"{stage['percent']:g} % for {plan.time_text(stage['durationS'])}" for stage in stages)


def list_things(vendor: Vendor, options: argparse.Namespace) -> None:
    """List the things: serial number, name, Id, current and target version, status, how the last update went, when it
    was last seen."""
    filters = {"search": options.search, "status": options.status}
    names: dict[str, dict[str, str]] = {}
    rows = []
    for thing in vendor.each_thing(**{name: value for name, value in filters.items() if value}):
        template_id = thing["templateId"]
        if template_id not in names:
            names[template_id] = _version_names(vendor, template_id)
        versions = (_name(thing["currentVersion"]), _name(thing["targetVersion"]))
        update = _last_update(thing, names[template_id])
        told = (thing["status"], update, thing["lastSeen"] or "-")
        rows.append((thing["serialNumber"], thing["name"], thing["id"], *versions, *told))
    _show(("serial number", "name", "Id", "current", "target", "status", "last update", "last seen"), rows)


def show_thing(vendor: Vendor, options: argparse.Namespace) -> None:
    """Show all about one thing, its properties included."""
    thing = find_thing(vendor, options.thing)
    since = f" (since {thing['currentVersionSince']})" if thing["currentVersion"] else ""
    rows = [
        ("serial number", thing["serialNumber"]),
        ("name", thing["name"]),
        ("description", thing["description"] or ""),
        ("Id", thing["id"]),
        ("current version", _name(thing["currentVersion"]) + since),
        ("target version", _name(thing["targetVersion"]) + (" (pinned)" if thing["pinned"] else "")),
        ("status", thing["status"]),
        ("last update", _last_update(thing, _version_names(vendor, thing["templateId"]))),
        ("last seen", thing["lastSeen"] or "-"),
    ]
    values = thing["properties"].items()
    rows += [(f"property {name}", json.dumps(value, ensure_ascii=False)) for name, value in values]
    _show(None, rows)


def list_events(vendor: Vendor, options: argparse.Namespace) -> None:
    """List what has been done: time, who, from where, what, to what."""
    filters = {"subject": options.subject} if options.subject else {}
    rows = []
    for event in vendor.events(limit=options.limit, **filters):
        who = (event["actor"], event["address"] or "-")
        rows.append((event["at"], *who, event["kind"], event["subject"], event["text"]))
    _show(("time", "who", "address", "what", "of", "text"), rows)


def list_vendors(vendor: Vendor, options: argparse.Namespace) -> None:
    """List who may make the vendor's calls."""
    _show(("vendor", "since"), [(each["name"], each["createdAt"]) for each in vendor.vendors()])


def add_vendor(vendor: Vendor, options: argparse.Namespace) -> None:
    """Let one more make the vendor's calls; the password goes into a file."""
    _keep_password(options, lambda: vendor.create_vendor(options.name))


def renew_password(vendor: Vendor, options: argparse.Namespace) -> None:
    """Give a vendor a new password, into a file."""
    _keep_password(options, lambda: vendor.renew_password(options.name))


def remove_vendor(vendor: Vendor, options: argparse.Namespace) -> None:
    """Take a vendor's access away."""
    vendor.remove_vendor(options.name)
    print(f"vendor {options.name} removed")


def pin_thing(vendor: Vendor, options: argparse.Namespace) -> None:
    """Pin one thing to a version."""
    thing = find_thing(vendor, options.thing)
    version = pick("version", vendor.versions(thing["templateId"]), options.version)
    vendor.pin(thing["id"], version["id"], options.force)
    print(f"{thing['serialNumber']}: pinned to version {version['name']}")


def unpin_thing(vendor: Vendor, options: argparse.Namespace) -> None:
    """Let one thing follow its template's target again."""
    thing = find_thing(vendor, options.thing)
    vendor.unpin(thing["id"])
    print(f"{thing['serialNumber']}: follows its template's target")


def delete_thing(vendor: Vendor, options: argparse.Namespace) -> None:
    """Have the server forget one thing; its serial number stays registered."""
    thing = find_thing(vendor, options.thing)
    vendor.delete_thing(thing["id"])
    print(f"{thing['serialNumber']}: thing {thing['id']} deleted; the next activation makes a new one")


def find_thing(vendor: Vendor, wanted: str) -> dict:
    """The thing that `wanted` names: by serial number, by Id, else by name; asked for alone, however many there are.
    VendorError when there is none, or more than one with that name."""
    if _ID.fullmatch(wanted):
        try:
            return vendor.thing_by_id(wanted)
        except VendorError as error:
            if error.status != 404:
                raise
    for key in ("serialNumber", "name"):
        found = vendor.some_things(2, **{key: wanted})
        if len(found) > 1:
            raise VendorError(400, "", f"more than one thing has the name {wanted!r}: give the serial number")
        if found:
            return found[0]
    raise VendorError(404, "", f"there is no thing {wanted!r} (thing list shows what there is)")


def _keep_password(options: argparse.Namespace, change: Callable[[], dict]) -> None:
    """Make the change and keep the password that it answers with, in a file that only its owner reads."""
    try:
        # Before the change: a password that cannot be kept would be lost.
        handle = os.open(options.out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise UsageError(f"{options.out} exists already: name a new file") from error
    with open(handle, "w") as file:
        try:
            changed = change()
        except VendorError:
            options.out.unlink()
            raise
        file.write(changed["password"] + "\n")
    print(f"password of vendor {changed['name']} in {options.out}")


def _version_names(vendor: Vendor, template_id: str) -> dict[str, str]:
    """The names of a template's versions, by Id."""
    return {version["id"]: version["name"] for version in vendor.versions(template_id)}


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
    """Yield what is to be called with the bytes sent so far: it draws a bar; None when no person watches."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("uploading"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=size_bytes)
        yield lambda sent_bytes: bar.update(task, completed=sent_bytes)


def _show(header: tuple[str, ...] | None, rows: Iterable[tuple[str, ...]]) -> None:
    """A table for a person; for a program, lines of fields separated by tabs."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

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
