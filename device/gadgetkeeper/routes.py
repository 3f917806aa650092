"""GadgetKeeper's calls: every path and every header, so that another server is a change in one place.

docs/server-api.md says which are GadgetKeeper's own and which are chosen in its style.
"""

from micropython import const

_USER_AGENT = const("gadgetkeeper-thermometer")
# name | method | path below the server's address | code of the error that a 404 means
_TABLE = const("""
activate | PUT | /v1/things/activate/{serial}.json | not_registered
update thing | PUT | /v1/things/{thing}.json | no_thing
get thing | GET | /v1/things/{thing}.json | no_thing
get target version | GET | /v1/things/{thing}/versions/target.json | no_target
get current version | GET | /v1/things/{thing}/versions/current.json | no_current
get firmware | GET | /v1/things/{thing}/versions/{version}/firmware.json | no_firmware
confirm version | PUT | /v1/things/{thing}/versions/{version}.json | no_version
write property | PUT | /v1/things/{thing}/properties/{property}/value.json | no_property
""")


class Route:
    """The call with this name: method, path, and the code of the error that a 404 means."""

    def __init__(self, name: str) -> None:
        start = _TABLE.index(f"\n{name} | ") + len(name) + 4
        self.method, self.path, self.missing = _TABLE[start : _TABLE.index("\n", start)].split(" | ")


def message(device, name: str, text: "str | None", headers: "dict | None", names: dict) -> dict:
    """Return the arguments of `urequests.request` for the call of this name, see `call`."""
    route = Route(name)
    settings = device.settings
    fields = {"User-Agent": f"{_USER_AGENT}/{settings.release or 0}"}  # firewalls refuse who does not say
    fields.update(headers or {})
    if name != "activate":
        fields["X-ApiKey"] = device.record.api_key or ""
    elif settings.device_secret:
        fields["X-DeviceSecret"] = settings.device_secret
    if text:
        fields["Content-Type"] = "application/json"
    return {
        "method": route.method,
        "url": settings.server.rstrip("/") + route.path.format(thing=device.record.thing_id, **names),
        "data": text and text.encode(),
        "headers": fields,
        "ca": settings.ca,
        "link": device.link,
    }
