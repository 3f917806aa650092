"""GadgetKeeper's call for a version's firmware. What it may raise: see `call`.

A patch is asked for as RFC 3229 says. A server that does not know it sends the firmware as it is.
"""

from micropython import const

from .call import call

_OK = const(200)
_PARTIAL_CONTENT = const(206)
_IM_USED = const(226)
_PATCH = const("gkp")  # the instance manipulation's name, see docs/patch-format.md


def firmware(device, version_id: str, download):
    """Return the response whose body is the version's firmware, or a patch for it. The caller closes it.

    Status 200: the whole firmware. 206: its bytes from `download.start` on. 226: a patch for `download.base`, or one
    without a base; with a "content-range" among its headers, that part of it."""
    headers = {"Accept": "application/octet-stream, application/json;q=0.5"}
    if download.base:
        headers["A-IM"] = _PATCH + ", range"
        headers["If-None-Match"] = f'"{download.base}"'
    if download.start or download.end:
        ranged = dict(headers)
        ranged["Range"] = f"bytes={download.start}-{download.end - 1 if download.end else ''}"
        ranged["If-Range"] = download.etag
        response = call(device, "get firmware", headers=ranged, version=version_id)
        if _is_of_use(response, download):
            return response
        response.close()
    response = call(device, "get firmware", headers=headers, version=version_id)
    if response.status_code == _IM_USED and not _is_whole_patch(response):
        response.close()
        del headers["A-IM"], headers["If-None-Match"]
        response = call(device, "get firmware", headers=headers, version=version_id)
    return response


def _is_of_use(response, download) -> bool:
    """Return True for the part that was asked for, and for a whole."""
    if response.status_code == _OK or _is_whole_patch(response):
        return True
    if response.status_code != _PARTIAL_CONTENT and not _is_patch(response):
        return False
    part = response.headers.get("content-range", "")
    end = f"-{download.size_bytes - 1}/{download.size_bytes}" if download.size_bytes else ""
    return part.startswith(f"bytes {download.start}-") and part.endswith(end)


def _is_whole_patch(response) -> bool:
    return _is_patch(response) and "content-range" not in response.headers


def _is_patch(response) -> bool:
    if response.status_code != _IM_USED:
        return False
    applied = response.headers.get("im", "").replace(" ", "").lower()
    return applied == (_PATCH + ",range" if "content-range" in response.headers else _PATCH)
