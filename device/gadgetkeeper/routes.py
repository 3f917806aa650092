"""GadgetKeeper's calls: every path, so that another server is a change in one place.

docs/server-api.md says which are GadgetKeeper's own and which are chosen in its style.
"""

from micropython import const

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
