"""The product: reads the temperature and reports it as a property of the thing."""

import board


def read_celsius(pin: int) -> float:
    """The temperature at the DS18B20 on `pin`, or the chip's own without one. RetryableError when the sensor fails."""
    from gadgetkeeper.errors import RetryableError

    try:
        celsius = board.sensor_celsius(pin)
        if celsius is None:
            celsius = board.chip_celsius()
    except Exception as error:  # the 1-wire driver raises bare Exception for a bad checksum
        raise RetryableError("sensor", f"the sensor on pin {pin} fails ({error})")
    return round(celsius, 1)


def run(settings: dict, api, duration_s: int) -> None:
    """Measure and report every `report_interval_s` for `duration_s`; `api` may have no API key yet, or be None.

    A report that fails is said and left behind: the next one carries a newer value anyway. Returns early when the
    server has dropped the API key, which only another activation can mend."""
    from gadgetkeeper.console import say
    from gadgetkeeper.errors import AgentError, KeyDropped

    interval_s = settings["report_interval_s"]
    while duration_s > 0:
        try:
            celsius = read_celsius(settings["onewire_pin"])
            activated = api and api.api_key
            if activated:
                api.write_property(settings["temperature_property"], celsius)
            say("{} C{}".format(celsius, " reported" if activated else ", not reported: not activated yet"))
        except KeyDropped as error:
            say(f"not reported: {error}")
            board.wait(min(interval_s, duration_s) * 1000)
            return
        except AgentError as error:
            say(f"not reported: {error}")
        board.wait(min(interval_s, duration_s) * 1000)
        duration_s -= interval_s
