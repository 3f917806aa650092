"""A relay at GPIO 5 that is on while electricity is cheap: a server of the vendor's tells the price."""

import machine
import urequests
from micropython import const

_PRICE_URL = "http://127.0.0.1:8090/price.json"
_RELAY_PIN = const(5)
_CHEAP_CENTS = const(20)
_LOOK_S = const(60)


def prove(agent) -> None:
    """Show in a trial that the product works: the price is there, and the server takes a report."""
    agent.report("price", _switch())


def run(agent, duration_s: int) -> None:
    """Switch every minute for `duration_s`, and report the price."""
    while duration_s > 0:
        try:
            cents = _switch()
            agent.report("price", cents, bool(agent.record.api_key))
            agent.console.say(f"{cents} cents: reported")
        except Exception as error:  # no network, no price: the next look tries again
            agent.console.say(f"not reported: {error}")
        agent.wait(_LOOK_S * 1000)  # feeds the watchdog
        duration_s -= _LOOK_S


def _switch() -> float:
    """Return the price. The relay is on when it is low, and off when nobody knows it."""
    cents = None
    try:
        cents = float(urequests.get(_PRICE_URL).json()["cents"])
    finally:
        machine.Pin(_RELAY_PIN, machine.Pin.OUT, value=cents is not None and cents < _CHEAP_CENTS)
    return cents
