"""What comes before a round of the scenario, and what follows from how it went."""

from micropython import const

from .errors import AgentError, PermanentError
from .runner import run

_FAILURES_BEFORE_RESTART = const(8)


def prepare(device) -> None:
    """Read record and settings, and join the network. AgentError when that fails."""
    if not device.record.dirty:  # otherwise flash does not hold what we know
        device.record = run("agent.record_reader", "read_record", device.root)
    run("agent.settings", "load_settings", device)
    if not device.schedule.begun:
        device.schedule.begun = True
        if run("agent.outage", "restarts", device):
            device.schedule.failures = _FAILURES_BEFORE_RESTART  # at the pace of before
        if device.board.at_power_on():
            device.board.wait(run("agent.backoff", "spread_ms", device.settings.start_spread_s))
    device.board.connect(device.settings.wifi, device.settings.country)


def succeed(device) -> int:
    """Return the seconds until the next round, after one that has ended in step."""
    device.schedule.succeeded()
    run("agent.outage", "end", device)
    return _pause_s(device, None)


def fail(device, error: Exception) -> int:
    """Print the error that ended a round, and return the seconds until the next one: 0 when another activation mends
    it. Does not return when only a restart can help."""
    schedule = device.schedule
    # Nothing but another activation mends a dropped key, or a thing that the server has lost.
    if isinstance(error, AgentError) and error.code in ("key_dropped", "no_thing") and not schedule.reactivating:
        device.console.say(f"{_sentence(error)}; activating again")
        device.record.api_key = None
        device.record.dirty = True
        schedule.reactivating = True
        return 0
    on_trial = device.board.on_trial()  # its time is short: what mends itself must do so now
    if isinstance(error, PermanentError) and not on_trial:
        schedule.succeeded()  # another try would not mend it
    else:
        schedule.failed()
    asked_s = None if on_trial else getattr(error, "retry_after_s", None)
    wait_s = _pause_s(device, asked_s)
    device.console.say(f"{_sentence(error)}; the thermometer runs, next try in {wait_s} s")
    if device.record.outcome and isinstance(error, PermanentError):
        _report(device)  # to the vendor's rollout the next round would be late
    run("agent.outage", "climb", device, error)
    return wait_s


def _report(device) -> None:
    try:
        run(f"{device.backend}.things", "report_outcome", device)
    except AgentError:  # the next round tries again
        pass


def _pause_s(device, asked_s: "int | None") -> int:
    return run("agent.backoff", "pause_s", device.schedule.failures, device.settings.check_interval_s, asked_s)


def _sentence(error: Exception) -> str:
    return run("agent.sentences", "sentence", error)
