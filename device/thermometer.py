"""The product: measures the temperature and reports it as a property of the thing, between the agent's rounds."""

import sys

import board
from gadgetkeeper import forget


def live(agent: str) -> None:
    """Have the agent, a module with `keep_in_step`, keep the firmware in step, then measure until its next round, and
    so on for ever. While the thermometer measures, nothing of the agent is in memory but what reporting needs."""
    failures, state = 0, None
    while True:
        failures, pause_s, state = __import__(agent).keep_in_step(failures, state)
        sys.modules.pop(agent)
        forget()
        run(pause_s, state)
        forget()


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


def run(duration_s: int, state: dict) -> None:
    """Measure and report every `report_interval_s` for `duration_s`. `state` is the agent's record; it may hold no API
    key yet.

    A report that fails is said and left behind: the next one carries a newer value anyway. Returns early when the
    server has dropped the API key, which only another activation can mend."""
    from gadgetkeeper.console import say
    from gadgetkeeper.errors import AgentError

    settings = _settings()
    interval_s = settings["report_interval_s"]
    api = None
    while duration_s > 0:
        try:
            celsius = read_celsius(settings["onewire_pin"])
            if state.get("apiKey"):
                api = api or _api(settings, state)
                api.write_property(settings["temperature_property"], celsius)
                say(f"{celsius} C reported")
            else:
                say(f"{celsius} C, not reported: not activated yet")
        except AgentError as error:
            from gadgetkeeper.sentences import sentence

            say(f"not reported: {sentence(error)}")
            if error.code == "key_dropped":
                duration_s = interval_s
        board.wait(min(interval_s, duration_s) * 1000)
        duration_s -= interval_s
    if api:
        api.close()


def _settings() -> dict:
    from gadgetkeeper import files
    from gadgetkeeper.errors import AgentError

    settings: dict = {}
    try:
        files.config(settings)
    except AgentError:  # the agent has said it
        pass
    return settings


def _api(settings: dict, state: dict):
    from gadgetkeeper.api import Api
    from gadgetkeeper.transport import Session

    return Api(settings["server"], Session(settings["ca"]), state)
