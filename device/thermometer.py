"""The product: measures the temperature and reports it as a property of the thing, between the agent's rounds."""

import time

from agent.errors import AgentError, RetryableError
from agent.runner import run


def read_celsius(device) -> float:
    """Return the temperature at the DS18B20, or the chip's own without one. RetryableError when the sensor fails."""
    pin = device.settings.onewire_pin
    try:
        celsius = device.board.sensor_celsius(pin)
        if celsius is None:
            celsius = device.board.chip_celsius()
    except Exception as error:  # the 1-wire driver raises bare Exception for a bad checksum
        raise RetryableError("sensor", pin, error)
    return round(celsius, 1)


def measure(device, duration_s: int) -> None:
    """Measure and report every `report_interval_s` for `duration_s`.

    A report that fails is printed and left behind: the next one carries a newer value anyway. When the server has
    dropped the API key, which only another activation can mend, return early, unless the last round has failed."""
    has_key = bool(device.record.api_key)
    while duration_s > 0:
        start_ms = time.ticks_ms()
        wait_s = min(run("agent.backoff", "interval_s", device.settings.report_interval_s), duration_s)
        try:
            celsius = read_celsius(device)
            if has_key:
                _report(device, celsius)
                device.console.say(f"{celsius} C reported")
            else:
                device.console.say(f"{celsius} C, not reported: not activated")
        except Exception as error:  # whatever it is, the next reading may be better
            device.console.say(f"not reported: {run('agent.sentences', 'sentence', error)}")
            if isinstance(error, AgentError) and error.code == "key_dropped":
                has_key = False
                if device.schedule.failures == 0:
                    duration_s = wait_s
        device.board.wait(wait_s * 1000)
        duration_s -= max(wait_s, time.ticks_diff(time.ticks_ms(), start_ms) // 1000)


def _report(device, celsius: float) -> None:
    device.board.connect(device.settings.wifi)
    run("gadgetkeeper.things", "write_property", device, device.settings.temperature_property, celsius)
