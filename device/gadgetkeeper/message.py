"""What a call sends. The table of all calls, and what makes the request, need not stay in memory until its answer."""

import json

from micropython import const

from .routes import Route

_USER_AGENT = const("gadgetkeeper-thermometer")


def message(device, name: str, value: object, headers: "dict | None", names: dict) -> dict:
    """Return the arguments of `urequests.request` for the call of this name, with `value` as JSON."""
    route = Route(name)
    settings = device.settings
    fields = {"User-Agent": f"{_USER_AGENT}/{settings.release or 0}"}  # firewalls refuse who does not say
    fields.update(headers or {})
    if name != "activate":
        fields["X-ApiKey"] = device.record.api_key or ""
    elif settings.device_secret:
        fields["X-DeviceSecret"] = settings.device_secret
    data = None
    if value is not None:
        data = json.dumps(value).encode()
        fields["Content-Type"] = "application/json"
    return {
        "method": route.method,
        "url": settings.server.rstrip("/") + route.path.format(thing=device.record.thing_id, **names),
        "data": data,
        "headers": fields,
        "ca": settings.ca,
        "link": device.link,
    }
