"""One call to GadgetKeeper.

`device` gives the server's address, the thing's Id and key, and the link that is kept from call to call. Every call may
raise RetryableError (no answer, 408, 429, 5xx, an answer that is not what it should be; "key_dropped" for 401) and
PermanentError (any other refusal; "no_thing" when the server has lost the thing).
"""

from agent.errors import AgentError
from agent.runner import run
from net import urequests


def call(device, name: str, text: "str | None" = None, headers: "dict | None" = None, **names: str):
    """Make the call of this name with this JSON text, and return its successful response. The caller closes it.

    `names` fill the path: `serial`, `version`, `property`. Status 206, 226 and 416 are a success only where the headers
    have asked for a part or a patch."""
    try:
        response = urequests.request(**run("gadgetkeeper.routes", "message", device, name, text, headers, names))
        device.server_date = response.headers.get("date", "")
        device.schedule.silent_since_ms = None
        device.board.feed()
        if response.status_code not in (200, 204):  # the usual ones
            run("gadgetkeeper.refusal", "check_status", device, name, headers or {}, response)
        return response
    except AgentError as error:
        error.call = name
        raise
