"""The scenario's steps that talk with the server. `main.py` lists them in their order."""

import sys

import board

from .console import say, step
from .errors import AgentError, FinalError


def look_up_serial_number() -> str:
    """The serial number on flash."""
    from .files import serial_number

    return serial_number()


def settle(state: dict) -> "tuple[dict, bool, int]":
    """Bring the record in line with what runs, see `update.settle`."""
    from .update import settle

    return settle(state, board.Partition)


def talk(settings: dict, state: dict, doubt: bool = False):
    """The server's calls for this device; to be closed. For TLS the clock is set before, anew if it is in `doubt`."""
    from .api import Api
    from .transport import Session

    if settings["server"].startswith("https"):
        from .clock import set_time

        floor_s = max(settings["made_at"], state.get("time", 0))
        set_time(board.RTC(), floor_s, settings["ntp"], doubt)
    return Api(settings["server"], Session(settings["ca"]), state)


def learn_time(date: "str | None", made_at: int, state: dict) -> None:
    """Set the clock by the date of an answer whose sender has been verified, see `clock.learn`."""
    from .clock import learn

    time_s = learn(board.RTC(), date or "", max(made_at, state.get("time", 0)))
    if time_s:
        keep(state, time=time_s)


def keep(state: dict, **members: object) -> None:
    """Put these members into the record on flash."""
    from .store import keep

    keep(state, **members)


def activate(api, serial: str, state: dict) -> None:
    """Get Id and key, and store them. What was done for another thing counts no more."""
    thing_id, api_key = api.activate(serial)
    known = thing_id == state.get("thingId")
    renamed, confirmed = known and state.get("renamed"), known and state.get("confirmed")
    keep(state, thingId=thing_id, apiKey=api_key, renamed=renamed, confirmed=confirmed)


def rename(api, name: str, state: dict) -> None:
    """Give the thing its name, once. A server that refuses it, or fails at it, keeps nobody from updating."""
    try:
        api.rename(name)
    except AgentError as error:
        if error.code not in ("refused", "server_error") or error.retry_after_s:
            raise
        say(f"not renamed [{error.code}]")
        return
    keep(state, renamed=True)
    step(2, "renamed to {}", name)


def look_up_installed(api, state: dict, runs: dict, on_trial: bool) -> "str | None":
    """Id of the version that runs: from the record, else from the server; None when it is not known."""
    update = state.get("update", {})
    for claim in (state, update):
        runs_here = claim.get("slot") == runs["slot"] and claim.get("image") == runs["image"]
        if runs_here and (claim is state or update["phase"] == "armed"):
            return claim.get("versionId")
    if "image" in state or on_trial:
        return None
    current = api.current_version()
    if current:
        keep(state, versionId=current, confirmed=True, **runs)
    return current


def prove(settings: dict, state: dict) -> None:
    """The trial's last question: can the new firmware measure?"""
    import thermometer

    from .update import prove

    thermometer.read_celsius(settings["onewire_pin"])
    del sys.modules["thermometer"]  # it measures later
    prove(state, board.Partition)
    board.end_trial()


def report(api, settings: dict, state: dict) -> None:
    """Tell the server how the last try to update went, unless it knows. A server without a use for it is no failure."""
    verdict = state.get("verdict")
    if not verdict:
        return
    try:
        api.write_property(settings["status_property"], verdict)
    except FinalError as error:
        from .sentences import sentence

        say(f"status not reported: {sentence(error)}")
    except AgentError as error:
        if error.code == "key_dropped":
            raise
        return
    keep(state, verdict=None)


def ask_for_firmware(api, state: dict, target: str, start: int) -> list:
    """In a list, the byte from which on it was asked for, and the server's answer that holds the firmware; an empty
    list when the firmware should still be in its slot, because it was armed before."""
    begun = state.get("update", {})
    if begun.get("versionId") != target:
        begun = {}
    if begun.get("phase", "download") != "download":
        return []
    if begun.get("etag") is None:
        start = 0
    return [start, api.firmware(target, start, begun.get("size", 0), begun.get("etag"))]
