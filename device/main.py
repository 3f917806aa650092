"""The thermometer at power-on: registers itself with GadgetKeeper and keeps its firmware in step; then it measures.

The steps are those of the scenario "Device provisioning". They are gone through at every start and again every
`check_interval_s`; what is done already costs one request. Whatever fails, the thermometer runs. Each step takes the
modules it needs into memory, and lets go of them: what the agent holds, the firmware's download cannot have.
"""

import board
from gadgetkeeper import forget
from gadgetkeeper.console import bar, say, step
from gadgetkeeper.errors import AgentError, FinalError


def provision(settings: dict, state: dict) -> None:
    """The scenario, from the serial number to the confirmed version. AgentError when a step fails."""
    # 1. Look up serial number
    serial = look_up_serial_number()
    step(1, "serial number {}", serial)
    runs, on_trial, start = settle(state)  # what the chip says, before anything is believed
    forget()

    # 2. Initiate activation
    api = talk(settings, state)
    if not state.get("apiKey"):
        activate(api, serial, state)
        step(2, "activated as thing {}", state["thingId"])
    if not state.get("renamed"):
        api.rename(settings["thing_name"])
        keep(state, renamed=True)
        step(2, "renamed to {}", settings["thing_name"])

    # 3. Get expected version information, and the installed version's
    target, name = api.target_version()
    installed = look_up_installed(api, state, runs, on_trial)
    in_step = installed == target
    step(3, "target version {} ({}), installed: {}", name, target, "the same" if in_step else installed or "none")

    # A firmware on trial has reached the server; if it can measure as well, it stays.
    if on_trial:
        api.close()
        del api
        prove(settings, state)
        step(4, "the new firmware has proven itself in {}", runs["slot"])
        api = talk(settings, state)
    report(api, settings, state)

    # 4. Download and install firmware
    if not in_step:
        if state.get("quarantined") == target:
            step(4, "firmware {} has failed here; waiting for another target version", name)
            return
        replies = ask_for_firmware(api, state, target, start)
        del api
        forget()
        install(replies, settings, state, target, name)
        board.reset()

    # 5. Confirm firmware update
    if not state.get("confirmed"):
        api.confirm(target)
        keep(state, confirmed=True)
        step(5, "version {} confirmed; Id stored", name)
    api.close()
    say(f"in step with version {name}")


def look_up_serial_number() -> str:
    """The serial number on flash."""
    from gadgetkeeper.files import serial_number

    return serial_number()


def settle(state: dict) -> "tuple[dict, bool, int]":
    """Bring the record in line with what runs, see `update.settle`."""
    from gadgetkeeper.update import settle

    return settle(state, board.Partition)


def talk(settings: dict, state: dict):
    """The server's calls for this device; to be closed."""
    from gadgetkeeper.api import Api
    from gadgetkeeper.transport import Session

    return Api(settings["server"], Session(settings["ca"]), state)


def keep(state: dict, **members: object) -> None:
    """Put these members into the record on flash."""
    from gadgetkeeper.store import keep

    keep(state, **members)


def activate(api, serial: str, state: dict) -> None:
    """Get Id and key, and store them. What was done for another thing counts no more."""
    thing_id, api_key = api.activate(serial)
    known = thing_id == state.get("thingId")
    renamed, confirmed = known and state.get("renamed"), known and state.get("confirmed")
    keep(state, thingId=thing_id, apiKey=api_key, renamed=renamed, confirmed=confirmed)


def look_up_installed(api, state: dict, runs: dict, on_trial: bool) -> "str | None":
    """Id of the version that runs: from the record, else from the server."""
    from gadgetkeeper.update import installed

    if "image" not in state and not on_trial and installed(state, runs) is None:
        current = api.current_version()
        if current:
            keep(state, versionId=current, confirmed=True, **runs)
    return installed(state, runs)


def prove(settings: dict, state: dict) -> None:
    """The trial's last question: can the new firmware measure?"""
    import thermometer
    from gadgetkeeper.update import prove

    thermometer.read_celsius(settings["onewire_pin"])
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
        say(f"status not reported: {explain(error)}")
    except AgentError as error:
        if error.code == "key_dropped":
            raise
        return
    keep(state, verdict=None)


def ask_for_firmware(api, state: dict, target: str, start: int) -> list:
    """The server's answer that holds the firmware, alone in a list; an empty one when the firmware should still be in
    its slot, because it was armed before."""
    begun = state.get("update", {})
    if begun.get("versionId") != target:
        begun = {}
    if begun.get("phase", "download") != "download":
        return []
    return [api.firmware(target, start, begun.get("size", 0), begun.get("etag"))]


def install(replies: list, settings: dict, state: dict, target: str, name: str) -> None:
    """Bring the firmware into the free slot, have it checked, and have the boot loader try it."""
    from gadgetkeeper.install import arm, download

    def note(sentence: str) -> None:
        step(4, "firmware {} {}", name, sentence)

    def progress(slot: str, done: int, size: "int | None") -> None:
        board.feed()
        bar(f"[4/5] firmware {name} into {slot}", done, size)

    keys = settings["signing_keys"]
    if not keys:
        note("needs no signature: /config.json has no signing_keys")
    size = None
    if replies:
        reply = replies.pop()
        try:
            size = download(reply, state, target, board, note, progress)
        finally:
            reply.close()
        del reply
        forget()
    arm(state, target, board, keys, size)
    note("checked, starting it")


def explain(error: Exception) -> str:
    """The error in one line."""
    from gadgetkeeper.sentences import sentence

    return sentence(error)


def keep_in_step(failures: int, state: "dict | None") -> "tuple[int, int, dict]":
    """One round, after as many `failures` in a row, with the agent's record (None: as it is on flash): the failures
    now, the seconds until the next round, and the record."""
    from gadgetkeeper import files, retry

    settings: dict = {}
    if state is None:
        state = files.record()
    try:
        files.config(settings)
        del files
        board.connect(settings["wifi"])
        try:
            provision(settings, state)
        except AgentError as error:
            # Nothing but another activation mends a dropped key, or a thing that the server has lost.
            if error.code not in ("key_dropped", "no_thing"):
                raise
            say(f"{explain(error)}; activating again")
            state["apiKey"] = ""
            provision(settings, state)
        failures = 0
        pause_s = retry.pause_s(0, settings["check_interval_s"])
    except Exception as error:  # the outer edge: whatever it is, the thermometer runs
        failures += 1
        pause_s = retry.pause_s(failures, settings["check_interval_s"])
        say(f"{explain(error)}; the thermometer runs, next try in {pause_s} s")
    return failures, pause_s, state


if __name__ == "__main__":
    from thermometer import live

    live("main")
