"""GadgetKeeper's call for a version's firmware. What it may raise: see `call`."""

from micropython import const

from .call import call

_PARTIAL_CONTENT = const(206)


def firmware(device, version_id: str, download):
    """Return the response whose body is the version's firmware. The caller closes it.

    When the `download` has an `offset`, only what follows is asked for, provided that the file is still the one of its
    `etag`: status 206 then, otherwise 200 and the whole file."""
    headers = {"Accept": "application/octet-stream, application/json;q=0.5"}
    if download.offset:
        ranged = dict(headers)
        ranged["Range"] = f"bytes={download.offset}-"
        ranged["If-Range"] = download.etag
        response = call(device, "get firmware", headers=ranged, version=version_id)
        rest = f"bytes {download.offset}-{download.size_bytes - 1}/{download.size_bytes}"
        partial = response.status_code == _PARTIAL_CONTENT and response.headers.get("content-range") == rest
        if partial or response.status_code == 200:
            return response
        response.close()
    return call(device, "get firmware", headers=headers, version=version_id)
