"""One round: the scenario from the first step to the last, and what follows from its failure."""

from micropython import const

from .errors import AgentError, PermanentError
from .runner import run

_HEAP_FAILURES_MAX = const(8)  # in a row, some ten minutes


def keep_in_step(device) -> int:
    """Go through the scenario, and return the seconds until the next round. Whatever fails is printed."""
    schedule = device.schedule
    try:
        reactivated = _provision(device)
        # Should another board have this serial number, the two must not take turns at full speed.
        schedule.failed = schedule.failed + 1 if reactivated else 0
        return schedule.next_s(device.settings.check_interval_s)
    except Exception as error:  # the outer edge: whatever it is, the thermometer runs
        return _after_failure(device, error)
    finally:
        device.link.close()


def _provision(device) -> bool:
    """Go through the scenario; True when the thing had to be activated again for it."""
    if not device.record.dirty:  # otherwise flash does not hold what we know
        device.record = run("agent.recall", "load_record", device.root)
    run("agent.settings", "load_settings", device.settings, device.root)
    if not device.schedule.begun:
        device.schedule.begun = True
        if device.board.at_power_on():
            device.board.wait(run("agent.schedule", "spread_ms", device.settings.start_spread_s))
    device.board.connect(device.settings.wifi)
    try:
        run("main", "provision", device)
        return False
    except AgentError as error:
        # Nothing but another activation mends a dropped key, or a thing that the server has lost.
        if error.code not in ("key_dropped", "no_thing"):
            raise
        device.console.say(f"{_sentence(error)}; activating again")
    device.record.save(api_key=None)
    run("main", "provision", device)
    return True


def _after_failure(device, error: Exception) -> int:
    """Return the seconds until the next round, after one that ended with this error."""
    schedule = device.schedule
    if isinstance(error, MemoryError) and schedule.failed > _HEAP_FAILURES_MAX:
        raise error  # a fragmented heap: a fresh start mends more
    on_trial = device.board.on_trial()  # its time is short: what mends itself must do so now
    permanent = isinstance(error, PermanentError) and not on_trial
    schedule.failed = 0 if permanent else schedule.failed + 1
    asked_s = None if on_trial else getattr(error, "retry_after_s", None)
    wait_s = schedule.next_s(device.settings.check_interval_s, asked_s)
    device.console.say(f"{_sentence(error)}; the thermometer runs, next try in {wait_s} s")
    return wait_s


def _sentence(error: Exception) -> str:
    return run("agent.sentences", "sentence", error)
