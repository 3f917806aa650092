"""The thermometer at power-on: registers itself with GadgetKeeper and keeps its firmware in step; then it measures.

The steps are those of the scenario "Device provisioning". They are gone through at every start and again every
`check_interval_s`; what is done already costs one request. Whatever fails, the thermometer runs. Each step takes the
modules it needs into memory, and lets go of them: what the agent holds, the firmware's download cannot have.
"""

import board
from gadgetkeeper import forget
from gadgetkeeper.console import say, step
from gadgetkeeper.errors import AgentError, FinalError
from micropython import const

_HEAP_FAILURES_MAX = const(8)  # in a row, some ten minutes


def provision(settings: dict, state: dict, doubt: bool) -> None:
    """The scenario, from the serial number to the confirmed version. AgentError when a step fails. After a round that
    failed the clock is in `doubt`, too."""
    from gadgetkeeper import steps

    # 1. Look up serial number
    serial = steps.look_up_serial_number()
    step(1, "serial number {}", serial)
    runs, on_trial, start = steps.settle(state)  # what the chip says, before anything is believed
    if not on_trial:
        board.end_trial()
    forget()

    # 2. Initiate activation
    api = steps.talk(settings, state, doubt)
    if not state.get("apiKey"):
        steps.activate(api, serial, state)
        step(2, "activated as thing {}", state["thingId"])
    if not state.get("renamed"):
        steps.rename(api, settings["thing_name"], state)

    # 3. Get expected version information, and the installed version's
    target, name = api.target_version()
    if settings["server"].startswith("https"):
        steps.learn_time(api.date, settings["made_at"], state)
    installed = steps.look_up_installed(api, state, runs, on_trial)
    in_step = installed == target
    step(3, "target version {} ({}), installed: {}", name, target, "the same" if in_step else installed or "none")

    # A firmware on trial has reached the server; if it can measure as well, it stays.
    if on_trial:
        api.close()
        del api
        forget()
        steps.prove(settings, state)
        forget()
        api = steps.talk(settings, state)
        step(4, "the new firmware has proven itself in {}", runs["slot"])
    steps.report(api, settings, state)

    # 4. Download and install firmware
    if not in_step:
        if state.get("quarantined") == target:
            step(4, "firmware {} has failed here; waiting for another target version", name)
            api.close()
            return
        replies = steps.ask_for_firmware(api, state, target, start)
        api.close()  # but for the connection that the firmware comes through
        del api, steps
        forget()
        from gadgetkeeper.firmware import install

        install(replies, settings["signing_keys"], state, target, name)
        board.reset()

    # 5. Confirm firmware update
    if not state.get("confirmed"):
        api.confirm(target)
        steps.keep(state, confirmed=True)
        step(5, "version {} confirmed; Id stored", name)
    api.close()
    say(f"in step with version {name}")


def keep_in_step(failures: "int | None", unsaved: "dict | None") -> "tuple[int, int, dict | None]":
    """One round, after as many `failures` in a row (None: the first), with the agent's record if flash does not hold
    it: the failures now, the seconds until the next round, and the record if flash could not take it."""
    from gadgetkeeper import files

    settings: dict = {}
    state = unsaved or files.record()
    problem = asked_s = None
    again = 0
    try:
        files.config(settings)
        del files
        if failures is None and board.at_power_on():
            from gadgetkeeper.retry import start_ms

            board.wait(start_ms(settings["start_spread_s"]))
            del start_ms
        board.connect(settings["wifi"])
        failures = failures or 0
        try:
            provision(settings, state, failures > 0)
        except AgentError as error:
            # Nothing but another activation mends a dropped key, or a thing that the server has lost.
            if error.code not in ("key_dropped", "no_thing"):
                raise
            say(f"{explain(error)}; activating again")
            again = failures + 1  # should another board have this serial number, they must not take turns for ever
            from gadgetkeeper.store import keep

            keep(state, apiKey=None)
            del keep
            provision(settings, state, False)
        failures = again
    except Exception as error:  # the outer edge: whatever it is, the thermometer runs
        if isinstance(error, MemoryError) and (failures or 0) > _HEAP_FAILURES_MAX:
            raise  # a heap in shreds: a fresh start mends more
        hurry = board.on_trial()  # its time is short: what mends itself must do so now
        # What is final stays so until somebody has changed something: no hurry.
        failures = again if isinstance(error, FinalError) and not hurry else (failures or 0) + 1
        problem = error
        asked_s = None if hurry else getattr(error, "retry_after_s", None)
    forget()
    from gadgetkeeper.retry import pause_s

    wait_s = pause_s(failures, settings["check_interval_s"], asked_s)
    if problem:
        say(f"{explain(problem)}; the thermometer runs, next try in {wait_s} s")
    return failures, wait_s, state if "unsaved" in state else None


def explain(error: Exception) -> str:
    """The error in one line."""
    from gadgetkeeper.sentences import sentence

    return sentence(error)


if __name__ == "__main__":
    from life import live

    live("main")
