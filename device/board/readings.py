"""Which sensor is which: what they measure, as readings of the thing's properties."""

from agent.errors import AgentError, RetryableError
from micropython import const

_SEEN_MAX = const(2)


def read(agent, Reading) -> list:
    """Return what is to be reported, as `thermometer.Reading`: of each sensor that the settings name by its ROM code,
    or of the one that was the first to be seen; and of the chip itself where they ask for it. RetryableError when the
    bus fails."""
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
