"""A relay at GPIO 5 in place of the thermometer: it switches a heater on while the room is colder than 24 degrees."""

import machine
from micropython import const

_RELAY_PIN = const(5)
_ON_BELOW_CELSIUS = const(24)
_LOOK_S = const(10)


def prove(agent) -> None:
    """Show in a trial that the product works: the relay is switched, and the server takes a report."""
    agent.report("relay", _switch(agent)[1])


def run(agent, duration_s: int) -> None:
    """Switch every 10 s for `duration_s`; report at first, and when something has changed."""
    told = None
    while duration_s > 0:
        celsius, is_on = _switch(agent)
        if is_on != told:
            try:
                agent.report("relay", is_on, bool(agent.record.api_key))
                agent.console.say(f"{celsius} C, relay {'on' if is_on else 'off'}: reported")
                told = is_on
            except Exception as error:  # the next look tries again; what can be sent later is kept
                agent.console.say(f"not reported [{getattr(error, 'code', error)}]")
        agent.wait(_LOOK_S * 1000)  # feeds the watchdog
        duration_s -= _LOOK_S


def _switch(agent) -> tuple:
    """Switch the relay; return the temperature, None without one, and whether it is on. Nothing heats unmeasured."""
    try:
        readings = agent.board.sensors_celsius(agent.settings.onewire_pin).values()
    except Exception:  # the bus has failed
        readings = ()
    celsius = min((reading for reading in readings if isinstance(reading, float)), default=None)
    is_on = celsius is not None and celsius < _ON_BELOW_CELSIUS
    machine.Pin(_RELAY_PIN, machine.Pin.OUT, value=is_on)
    return celsius, is_on
