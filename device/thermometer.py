"""The product: measures the temperature and reports it as a property of the thing, between the agent's rounds."""

import time

import board


def read_celsius(pin: int) -> float:
    """The temperature at the DS18B20 on `pin`, or the chip's own without one. RetryableError when the sensor fails."""
    from gadgetkeeper.errors import RetryableError

    try:
        celsius = board.sensor_celsius(pin)
        if celsius is None:
            celsius = board.chip_celsius()
    except Exception as error:  # the 1-wire driver raises bare Exception for a bad checksum
        raise RetryableError("sensor", pin, error)
    return round(celsius, 1)


def run(duration_s: int, unsaved: "dict | None", patient: bool) -> None:
    """Measure and report every `report_interval_s` for `duration_s`. `unsaved` is the agent's record if flash does not
    hold it; a record may hold no API key yet.

    A report that fails is said and left behind: the next one carries a newer value anyway. When the server has dropped
    the API key, which only another activation can mend, only measures, and returns early unless `patient`."""
    from gadgetkeeper import forget
    from gadgetkeeper.console import say

    settings, state = _read(unsaved)
    forget()
    from gadgetkeeper.retry import pause_s

    api = None
    key = state.get("apiKey")
    while duration_s > 0:
        start_ms = time.ticks_ms()
        wait_s = min(pause_s(0, settings["report_interval_s"]), duration_s)
        try:
            celsius = read_celsius(settings["onewire_pin"])
            if key:
                board.connect(settings["wifi"])
                api = api or _api(settings, state)
                api.write_property(settings["temperature_property"], celsius)
                say(f"{celsius} C reported")
            else:
                say(f"{celsius} C, not reported: not activated")
        except Exception as error:  # whatever it is, the next reading may be better
            from gadgetkeeper.sentences import sentence

            say(f"not reported: {sentence(error)}")
            if getattr(error, "code", "") == "key_dropped":
                key = None
                if not patient:
                    duration_s = wait_s
        board.wait(wait_s * 1000)
        duration_s -= max(wait_s, time.ticks_diff(time.ticks_ms(), start_ms) // 1000)
    if api:
        api.close()


def _read(unsaved: "dict | None") -> "tuple[dict, dict]":
    """Settings and record."""
    from gadgetkeeper import files
    from gadgetkeeper.errors import AgentError

    settings: dict = {}
    try:
        files.config(settings)
    except AgentError:  # the agent has said it
        pass
    return settings, unsaved or files.record()


def _api(settings: dict, state: dict):
    from gadgetkeeper.api import Api
    from gadgetkeeper.transport import Session

    return Api(settings["server"], Session(settings["ca"]), state)
