"""What comes before a round of the scenario, and what follows from how it went."""

from micropython import const

from .errors import AgentError, PermanentError, RetryableError
from .runner import run

_PASSWORD_LEAST_CHARS = const(8)  # of WPA2
_FAILURES_BEFORE_RESTART = const(8)


def prepare(device) -> bool:
    """Read record and settings, and join the network; return True when the owner has to name one first, with `setup`.
    AgentError when that fails.

    That is so when the owner has asked for it with the button, when no network is known, and when none can be joined
    before the first activation."""
    board, settings, schedule = device.board, device.settings, device.schedule
    if not device.record.dirty:  # otherwise flash does not hold what we know
        device.record = run("agent.record_reader", "read_record", device.root)
    is_asked = not board.on_trial() and run("agent.owner", "take_wish", device)
    run("agent.settings_reader", "load_settings", device)
    board.use_pins(settings.button_pin, settings.led_pin)
    can_set_up = not board.on_trial() and len(settings.setup_password) >= _PASSWORD_LEAST_CHARS
    if can_set_up and (is_asked or not settings.wifi):
        return True
    if not schedule.begun:
        schedule.begun = True
        if run("agent.outage", "restarts", device):
            schedule.failures = _FAILURES_BEFORE_RESTART  # at the pace of before
        if board.at_power_on():
            board.wait(run("agent.backoff", "spread_ms", settings.start_spread_s))
    board.show("joining")
    try:
        board.connect(settings.wifi, settings.country)
    except RetryableError:
        if not can_set_up or device.record.thing_id:
            raise
        return True
    return False


def succeed(device) -> int:
    """Return the seconds until the next round, after one that has ended in step."""
    device.schedule.succeeded()
    run("agent.outage", "end", device)
    device.board.show("in step")
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
    device.board.show("wrong")
    device.console.say(f"{_sentence(error)}; the thermometer runs, next try in {wait_s} s")
    if device.record.outcome and isinstance(error, PermanentError):
        _report(device)  # to the vendor's rollout the next round would be late
    run("agent.outage", "climb", device, error)
    return wait_s


def _report(device) -> None:
    try:
        run(device.things, "report_outcome", device)
    except AgentError:  # the next round tries again
        pass


def _pause_s(device, asked_s: "int | None") -> int:
    return run("agent.backoff", "pause_s", device.schedule.failures, device.settings.check_interval_s, asked_s)


def _sentence(error: Exception) -> str:
    return run("agent.sentences", "sentence", error)
