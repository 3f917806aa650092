"""What a call sends. The table of all calls, and what makes the request, need not stay in memory until its answer."""

from micropython import const

from .routes import Route

_USER_AGENT = const("gadgetkeeper-thermometer")


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
