"""GadgetKeeper's Provision calls: activation and versions. What they may raise: see `call`."""

from agent.errors import PermanentError
from agent.identifiers import is_id
from agent.record import Version

from .answer import answer, bad_answer, tell
from .call import call


def activate(device, serial: str) -> None:
    """Activate the serial number, and save the Id of its thing, its new API key, and whose they are. What was done for
    another thing is to be done again."""
    members = answer(device, "activate", serial=serial)
    thing_id, api_key = members.get("thingId"), members.get("apiKey")
    if not is_id(thing_id) or thing_id == api_key:  # an Id is shown on the console
        raise bad_answer("activate", "no thingId")
    if not is_id(api_key):
        raise bad_answer("activate", "no apiKey")
    record = device.record
    same = thing_id == record.thing_id
    record.save(
        thing_id=thing_id,
        api_key=api_key,
        server=device.settings.server,
        signed=bool(device.settings.signing_keys),
        renamed=same and record.renamed,
        confirmed=same and record.confirmed,
    )


def target_version(device) -> Version:
    """Return the version that this thing should run."""
    try:
        return _version(device, "get target version")
    except PermanentError as error:
        if error.code == "no_target":
            call(device, "get thing").close()  # a thing that is gone has no target either
        raise


def current_version(device) -> "Version | None":
    """Return the version that the server believes this thing to run; None when it has never confirmed one."""
    try:
        return _version(device, "get current version")
    except PermanentError as error:
        if error.code == "no_current":
            return None
        raise


def confirm(device, version_id: str) -> None:
    """Tell the server that the thing now runs this version, and save that it knows."""
    tell(device, "confirm version", version=version_id)
    device.record.save(confirmed=True)


def _version(device, name: str) -> Version:
    members = answer(device, name)
    version_id, version_name = members.get("id"), members.get("name")
    if not is_id(version_id) or version_id == device.record.api_key:  # an Id is shown on the console
        raise bad_answer(name, "no id")
    if not is_id(version_name) or version_name == device.record.api_key:
        version_name = version_id
    return Version(str(version_id), str(version_name))
