"""The thermometer at power-on: registers itself with GadgetKeeper, keeps its firmware in step, then measures.

The steps are those of the scenario "Device provisioning". They are gone through at every start and again every
`check_interval_s`; what is done already costs one request. Whatever fails, the thermometer runs.
"""

import board
import thermometer
from gadgetkeeper import retry
from gadgetkeeper.api import Api
from gadgetkeeper.console import bar, say, step
from gadgetkeeper.errors import AgentError, FinalError, KeyDropped, NotFound, RetryableError
from gadgetkeeper.slots import Slots
from gadgetkeeper.store import DEFAULTS, Store
from gadgetkeeper.transport import request
from gadgetkeeper.update import Update


def provision(store: Store, api: Api, settings: dict) -> None:
    """The scenario, from the serial number to the confirmed version. AgentError when a step fails."""
    # 1. Look up serial number
    serial = store.serial_number()
    step(1, "serial number {}", serial)

    # 2. Initiate activation
    if not api.api_key:
        api.activate(serial)
        store.keep_credentials(api.thing_id, api.api_key)
        step(2, "activated as thing {}", api.thing_id)
    if not store.state.get("renamed"):
        api.rename(settings["thing_name"])
        store.keep(renamed=True)
        step(2, "renamed to {}", settings["thing_name"])

    # 3. Get expected version information, and the installed version's
    target, name = api.target_version()
    update = Update(store, Slots(board.Partition))
    if update.unidentified and not update.on_trial:
        current = api.current_version()
        if current:
            update.adopt(current[0])
    in_step = update.installed == target
    step(
        3, "target version {} ({}), installed: {}", name, target, "the same" if in_step else update.installed or "none"
    )

    # A firmware on trial has reached the server; if it can measure as well, it stays.
    if update.on_trial:
        thermometer.read_celsius(settings["onewire_pin"])
        update.prove()
        board.end_trial()
        step(4, "the new firmware has proven itself in {}", store.state["slot"])

    given_up = not in_step and update.given_up(target)
    report(store, api, settings)

    # 4. Download and install firmware
    if given_up:
        step(4, "firmware {} has failed here; waiting for another target version", name)
        return
    if not in_step:

        def note(sentence: str) -> None:
            step(4, "firmware {} {}", name, sentence)

        def progress(slot: str, done: int, size: "int | None") -> None:
            board.feed()
            bar(f"[4/5] firmware {name} into {slot}", done, size)

        keys = settings["signing_keys"]
        if not keys:
            note("needs no signature: /config.json has no signing_keys")
        update.install(api, target, board.chip_revision(), keys, progress, note)
        note("checked, starting it")
        board.reset()

    # 5. Confirm firmware update
    if not store.state.get("confirmed"):
        api.confirm(target)
        store.keep(confirmed=True)
        step(5, "version {} confirmed; Id stored", name)
    say(f"in step with version {name}")


def report(store: Store, api: Api, settings: dict) -> None:
    """Tell the server how the last try to update went, unless it knows. A server without a use for it is no failure."""
    verdict = store.state.get("verdict")
    if not verdict:
        return
    try:
        api.write_property(settings["status_property"], verdict)
    except KeyDropped:
        raise
    except RetryableError:
        return
    except FinalError as error:
        say(f"status not reported: {error}")
    store.keep(verdict=None)


def main() -> None:
    """Provision, run the thermometer until it is time to ask again, and so on for ever."""
    store = Store()
    api = None
    failures = 0
    while True:
        settings = DEFAULTS
        try:
            settings = store.config()
            api = Api(settings["server"], request, store.state.get("thingId", ""), store.state.get("apiKey", ""))
            board.connect(settings["wifi"])
            try:
                provision(store, api, settings)
            except (KeyDropped, NotFound) as error:
                # Nothing but another activation mends a dropped key, or a thing that was deleted at the server.
                if isinstance(error, NotFound) and (not api.api_key or api.knows_thing()):
                    raise
                say(f"{error}; activating again")
                api.api_key = ""
                provision(store, api, settings)
            failures = 0
            pause_s = retry.pause_s(0, settings["check_interval_s"])
        except Exception as error:  # the outer edge: whatever it is, the thermometer runs
            failures += 1
            pause_s = retry.pause_s(failures, settings["check_interval_s"])
            code = error.code if isinstance(error, AgentError) else type(error).__name__
            say(f"{error} [{code}]; the thermometer runs, next try in {pause_s} s")
        thermometer.run(settings, api, pause_s)


if __name__ == "__main__":
    main()
