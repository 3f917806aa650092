"""One call to GadgetKeeper.

`device` gives the server's address, the thing's Id and key, and the link that is kept from call to call. Every call may
raise RetryableError (no answer, 408, 429, 5xx, an answer that is not what it should be; "key_dropped" for 401) and
PermanentError (any other refusal; "no_thing" when the server has lost the thing).
"""

import json

from agent.errors import AgentError
from agent.runner import run
from micropython import const
from net import urequests

_USER_AGENT = "gadgetkeeper-thermometer"
_PARTIAL_CONTENT = const(206)
_IM_USED = const(226)
_RANGE_NOT_SATISFIABLE = const(416)


class Route:
    """The call with this name: method, path, and the code of the error that a 404 means."""

    def __init__(self, name: str) -> None:
        self.name = name
        # The table of all calls need not stay in memory while one is made.
        self.method, self.path, self.missing = run("gadgetkeeper.routes", "route", name).split(" | ")


def call(device, name: str, value: object = None, headers: "dict | None" = None, **names: str):
    """Make the call of this name, with `value` as JSON, and return its successful response. The caller closes it."""
    route = Route(name)
    headers = headers or {}
    data = None
    settings = device.settings
    if name != "activate":
        headers["X-ApiKey"] = device.record.api_key or ""
    elif settings.device_secret:
        headers["X-DeviceSecret"] = settings.device_secret
    if value is not None:
        data = json.dumps(value).encode()
        headers["Content-Type"] = "application/json"
    headers["User-Agent"] = f"{_USER_AGENT}/{settings.release or 0}"  # firewalls refuse who does not say
    url = settings.server.rstrip("/") + route.path.format(thing=device.record.thing_id, **names)
    try:
        response = urequests.request(route.method, url, data=data, headers=headers, ca=settings.ca, link=device.link)
        device.server_date = response.headers.get("date", "")
        device.schedule.silent_since_ms = None
        device.board.feed()
        if not _is_success(response.status_code, headers):
            response.close()
            raise run("gadgetkeeper.refusal", "refusal", response, route, url.startswith("https"))
        return response
    except AgentError as error:
        error.call = name
        raise


def _is_success(status: int, headers: dict) -> bool:
    if status in (_PARTIAL_CONTENT, _RANGE_NOT_SATISFIABLE):
        return "Range" in headers  # a part that nobody asked for is no firmware
    if status == _IM_USED:
        return "A-IM" in headers  # nor is a patch
    return 200 <= status <= 299
