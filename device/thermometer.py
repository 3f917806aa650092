"""The product: measures the temperature and reports it as a property of the thing.

The agent calls `prove` and `run`; what the product may use of it is in docs/another-product.md.
"""

import time

from agent.errors import AgentError, PermanentError, RetryableError
from agent.runner import run as run_phase


def prove(agent) -> None:
    """Show in a trial that the product works: read the sensor that was there before, and report once. AgentError when
    that fails."""
    celsius = read_celsius(agent)
    try:
        agent.report(agent.settings.temperature_property, celsius)
    except PermanentError as error:  # the server has answered; that it has no such property is not this release's fault
        agent.console.say(f"not reported [{error.code}]")


def run(agent, duration_s: int) -> None:
    """Measure and report every `report_interval_s` for `duration_s`.

    A report that fails is printed and left behind: the next one carries a newer value anyway. When the server has
    dropped the API key, which only another activation can mend, return early, unless the last round has failed."""
    can_report = bool(agent.record.api_key and agent.settings.server)
    while duration_s > 0:
        start_ms = time.ticks_ms()
        wait_s = min(run_phase("agent.backoff", "interval_s", agent.settings.report_interval_s), duration_s)
        try:
            celsius = read_celsius(agent)
            if can_report:
                agent.report(agent.settings.temperature_property, celsius)
                agent.console.say(f"{celsius} C reported")
            else:
                agent.console.say(f"{celsius} C, not reported: not activated")
        except Exception as error:  # whatever it is, the next reading may be better
            agent.console.say(f"not reported: {run_phase('agent.sentences', 'sentence', error)}")
            if isinstance(error, AgentError) and error.code == "key_dropped":
                can_report = False
                if agent.schedule.failures == 0:
                    duration_s = wait_s
        agent.wait(wait_s * 1000)
        duration_s -= max(wait_s, time.ticks_diff(time.ticks_ms(), start_ms) // 1000)


def read_celsius(agent) -> float:
    """Return the temperature at the DS18B20; the chip's own where there has never been one. RetryableError when the
    sensor fails, or is missing."""
    pin = agent.settings.onewire_pin
    try:
        celsius = agent.board.sensor_celsius(pin)
        if celsius is None and not agent.record.sensor_seen:
            return round(agent.board.chip_celsius(), 1)
    except Exception as error:  # the 1-wire driver raises bare Exception for a bad checksum
        raise RetryableError("sensor", pin, error)
    if celsius is None:
        raise RetryableError("sensor", pin, "it was there before")
    if not agent.record.sensor_seen:
        agent.record.save(sensor_seen=True)
    return round(celsius, 1)
