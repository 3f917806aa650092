"""The product: measures temperatures and reports them as properties of the thing.

The agent calls `prove` and `run`; what the product may use of it is in docs/another-product.md.
"""

import time

from agent.errors import AgentError, PermanentError, RetryableError
from agent.runner import run as run_phase
from micropython import const

_SEEN_MAX = const(2)


class Reading:
    """What a sensor measured, in degrees Celsius, and the property that it belongs to; or the error that it gave."""

    def __init__(self, property_id: str, celsius: "float | None", error: "RetryableError | None" = None) -> None:
        self.property_id = property_id
        self.celsius = celsius
        self.error = error


def prove(agent) -> None:
    """Show in a trial that the product works: read the sensors that were there before, and report once. AgentError when
    that fails."""
    for reading in read(agent):
        if reading.error:
            raise reading.error
        try:
            agent.report(reading.property_id, reading.celsius)
        except PermanentError as error:  # the server has answered; a property that it lacks is not this release's fault
            agent.console.say(f"not reported [{error.code}]")


def run(agent, duration_s: int) -> None:
    """Measure and report every `report_interval_s` for `duration_s`.

    When the server has dropped the API key, which only another activation can mend, return early, unless the last round
    has failed."""
    can_report = bool(agent.record.api_key and agent.settings.server)
    while duration_s > 0:
        start_ms = time.ticks_ms()
        wait_s = min(run_phase("agent.backoff", "interval_s", agent.settings.report_interval_s), duration_s)
        if _measure(agent, can_report) == "key_dropped":
            can_report = False
            if agent.schedule.failures == 0:
                duration_s = wait_s
        agent.wait(wait_s * 1000)
        duration_s -= max(wait_s, time.ticks_diff(time.ticks_ms(), start_ms) // 1000)


def _measure(agent, can_report: bool) -> str:
    """Measure and report once; return the code of the error that ended the latter, empty without one."""
    code = ""
    try:
        readings = read(agent)
        if not readings:
            raise RetryableError("sensor", agent.settings.onewire_pin, "none is there")
    except Exception as error:  # whatever it is, the next reading may be better
        _say(agent, error)
        return code
    for reading in readings:
        try:
            if reading.error:
                raise reading.error
            agent.report(reading.property_id, reading.celsius, can_report)
            agent.console.say(f"{reading.celsius} C" + (" reported" if can_report else ", not reported: not activated"))
        except Exception as error:
            _say(agent, error)
            if isinstance(error, AgentError) and error.code == "key_dropped":
                code = error.code
                can_report = False
    return code


def _say(agent, error: Exception) -> None:
    agent.console.say(f"not reported: {run_phase('agent.sentences', 'sentence', error)}")


def read(agent) -> list:
    """Return what is to be reported: a Reading of each sensor that the settings name by its ROM code, or of the one
    that was the first to be seen; and of the chip itself where they ask for it. RetryableError when the bus fails."""
    settings, board = agent.settings, agent.board
    try:
        found = board.sensors_celsius(settings.onewire_pin)
    except Exception as error:
        raise RetryableError("sensor", settings.onewire_pin, error)
    wanted = settings.sensors or _only(agent, found)
    readings = []
    for rom in wanted:
        celsius = found.get(rom, f"{rom} is not there")
        if isinstance(celsius, str):
            readings.append(Reading(wanted[rom], None, RetryableError("sensor", settings.onewire_pin, celsius)))
        else:
            readings.append(Reading(wanted[rom], round(celsius, 1)))
    if settings.chip_temperature_property:
        try:
            readings.append(Reading(settings.chip_temperature_property, round(board.chip_celsius(), 1)))
        except Exception as error:
            agent.console.say(f"no temperature of the chip: {error}")
    return readings


def _only(agent, found: dict) -> dict:
    """Return the ROM code of the sensor that was the first to be seen, and its property; empty when none ever was.

    Which one that is never changes by itself, unless there has only ever been one, and at power-on there is another one
    in its place."""
    record = agent.record
    seen = record.sensors.split(".") if record.sensors else []
    if len(seen) == len(found) == 1 and seen[0] not in found and agent.board.at_power_on():
        seen = []
    for rom in sorted(found):
        if rom not in seen and len(seen) < _SEEN_MAX:
            seen.append(rom)
    sensors = ".".join(seen)
    if seen and sensors != record.sensors and not agent.board.on_trial():
        try:
            record.save(sensors=sensors)
        except AgentError:  # the next round tries again
            pass
    return dict.fromkeys(seen[:1], agent.settings.temperature_property)
