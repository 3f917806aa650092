"""GadgetKeeper's Provision and Things calls, as the device makes them: one function each.

`device` gives the server's address, the thing's Id and key, and the link that is kept from call to call. Every function
may raise RetryableError (no answer, 408, 429, 5xx, an answer that is not what it should be; "key_dropped" for 401) and
PermanentError (any other refusal; "no_thing" when the server has lost the thing).
"""

import json

from agent.errors import AgentError, PermanentError, RetryableError
from agent.identifiers import is_id
from agent.record import Version
from micropython import const
from net import urequests

_PARTIAL_CONTENT = const(206)
_UNAUTHORIZED = const(401)
_NOT_FOUND = const(404)
_REQUEST_TIMEOUT = const(408)
_GONE = const(410)
_RANGE_NOT_SATISFIABLE = const(416)
_TOO_MANY_REQUESTS = const(429)


class _Route:
    """One call: its method, its path below the server's address, and the code of the error that a 404 means."""

    def __init__(self, method: str, path: str, missing: str) -> None:
        self.method = method
        self.path = path
        self.missing = missing


# Every path, so that another server is a change in one place. docs/server-api.md says which are GadgetKeeper's own and
# which are chosen in its style.
_ACTIVATE = _Route("PUT", "/v1/things/activate/{serial}.json", "not_registered")
_UPDATE_THING = _Route("PUT", "/v1/things/{thing}.json", "no_thing")
_GET_THING = _Route("GET", "/v1/things/{thing}.json", "no_thing")
_GET_TARGET_VERSION = _Route("GET", "/v1/things/{thing}/versions/target.json", "no_target")
_GET_CURRENT_VERSION = _Route("GET", "/v1/things/{thing}/versions/current.json", "no_current")
_GET_FIRMWARE = _Route("GET", "/v1/things/{thing}/versions/{version}/firmware.json", "no_firmware")
_CONFIRM_VERSION = _Route("PUT", "/v1/things/{thing}/versions/{version}.json", "no_version")
_WRITE_PROPERTY = _Route("PUT", "/v1/things/{thing}/properties/{property}/value.json", "no_property")


def activate(device, serial: str) -> None:
    """Activate the serial number, and save the Id of its thing and its new API key."""
    answer = _answer(device, "activate", _ACTIVATE, serial=serial)
    thing_id, api_key = answer.get("thingId"), answer.get("apiKey")
    if not is_id(thing_id) or thing_id == api_key:  # an Id is shown on the console
        raise _bad_answer("activate", "no thingId")
    if not is_id(api_key):
        raise _bad_answer("activate", "no apiKey")
    record = device.record
    same = thing_id == record.thing_id  # what was done for another thing counts no more
    record.save(
        thing_id=thing_id, api_key=api_key, renamed=same and record.renamed, confirmed=same and record.confirmed
    )


def rename(device) -> None:
    """Give the thing the name in the settings, once. A server that refuses it keeps nobody from updating."""
    try:
        _call(device, "update thing", _UPDATE_THING, {"name": device.settings.thing_name, "description": None}).close()
    except AgentError as error:
        if error.code not in ("refused", "server_error") or error.retry_after_s:
            raise
        device.console.say(f"not renamed [{error.code}]")
        return
    device.record.save(renamed=True)
    device.console.step(2, "renamed to {}", device.settings.thing_name)


def target_version(device) -> Version:
    """Return the version that this thing should run."""
    try:
        return _version(device, "get target version", _GET_TARGET_VERSION)
    except PermanentError as error:
        if error.code == "no_target":
            _call(device, "get thing", _GET_THING).close()  # a thing that is gone has no target either
        raise


def current_version(device) -> "Version | None":
    """Return the version that the server believes this thing to run; None when it has never confirmed one."""
    try:
        return _version(device, "get current version", _GET_CURRENT_VERSION)
    except PermanentError as error:
        if error.code == "no_current":
            return None
        raise


def firmware(device, version_id: str, download) -> urequests.Response:
    """Return the response whose body is the version's firmware. The caller closes it.

    When the `download` has an `offset`, only what follows is asked for, provided that the file is still the one of its
    `etag`: status 206 then, otherwise 200 and the whole file."""
    headers = {"Accept": "application/octet-stream, application/json;q=0.5"}
    if download.offset:
        ranged = dict(headers)
        ranged["Range"] = f"bytes={download.offset}-"
        ranged["If-Range"] = download.etag
        response = _call(device, "get firmware", _GET_FIRMWARE, headers=ranged, version=version_id)
        rest = f"bytes {download.offset}-{download.size_bytes - 1}/{download.size_bytes}"
        partial = response.status_code == _PARTIAL_CONTENT and response.headers.get("content-range") == rest
        if partial or response.status_code == 200:
            return response
        response.close()
    return _call(device, "get firmware", _GET_FIRMWARE, headers=headers, version=version_id)


def confirm(device, version: Version) -> None:
    """Tell the server that the thing now runs this version, and save that it knows."""
    _call(device, "confirm version", _CONFIRM_VERSION, version=version.id).close()
    device.record.save(confirmed=True)


def write_property(device, property_id: str, value: object) -> None:
    """Write one property of the thing."""
    _call(device, "write property", _WRITE_PROPERTY, value, property=property_id).close()


def report_outcome(device) -> None:
    """Tell the server how the last update went. A server without a use for that is no failure."""
    try:
        write_property(device, device.settings.status_property, device.record.outcome)
    except PermanentError as error:
        device.console.say(f"status not reported [{error.code}]")
    except AgentError as error:
        if error.code == "key_dropped":
            raise
        return
    device.record.save(outcome=None)


def _version(device, name: str, route: _Route) -> Version:
    answer = _answer(device, name, route)
    version_id, version_name = answer.get("id"), answer.get("name")
    if not is_id(version_id) or version_id == device.record.api_key:  # an Id is shown on the console
        raise _bad_answer(name, "no id")
    if not is_id(version_name) or version_name == device.record.api_key:
        version_name = version_id
    return Version(str(version_id), str(version_name))


def _answer(device, name: str, route: _Route, **names: str) -> dict:
    """Return the JSON object that is answered; an empty one for anything else."""
    response = _call(device, name, route, **names)
    try:
        answer = response.json()
    except AgentError as error:
        error.call = name
        raise
    finally:
        response.close()
    return answer if isinstance(answer, dict) else {}


def _call(device, name: str, route: _Route, value: object = None, headers: "dict | None" = None, **names: str):
    headers = headers or {}
    data = None
    if route is not _ACTIVATE:
        headers["X-ApiKey"] = device.record.api_key or ""
    if value is not None:
        data = json.dumps(value).encode()
        headers["Content-Type"] = "application/json"
    settings = device.settings
    url = settings.server.rstrip("/") + route.path.format(thing=device.record.thing_id, **names)
    try:
        response = urequests.request(route.method, url, data=data, headers=headers, ca=settings.ca, link=device.link)
        device.server_date = response.headers.get("date", "")
        if _is_success(response.status_code, "Range" in headers):
            return response
        response.close()
        raise _refusal(response, route)
    except AgentError as error:
        error.call = name
        raise


def _is_success(status: int, ranged: bool) -> bool:
    if status in (_PARTIAL_CONTENT, _RANGE_NOT_SATISFIABLE):
        return ranged  # a part that nobody asked for is no firmware
    return 200 <= status <= 299


def _refusal(response, route: _Route) -> AgentError:
    status = response.status_code
    if status == _UNAUTHORIZED and route is not _ACTIVATE:
        return RetryableError("key_dropped")
    if status in (_NOT_FOUND, _GONE):
        return PermanentError(route.missing)
    if status not in (_REQUEST_TIMEOUT, _TOO_MANY_REQUESTS) and status < 500:
        return PermanentError("refused", status)
    error = RetryableError("server_error", status)
    if "retry-after" in response.headers:
        from net.http_date import retry_after_s

        error.retry_after_s = retry_after_s(response.headers["retry-after"], response.headers.get("date", ""))
    return error


def _bad_answer(name: str, what: str) -> RetryableError:
    error = RetryableError("bad_answer", what)
    error.call = name
    return error
