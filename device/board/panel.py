"""The board's button and its LED, as far as it has them.

The owner holds the button for three seconds to set the board up anew, for ten to be forgotten. The LED's patterns are
in docs/setup.md; the chip's PWM draws them by itself, whatever the program does.
"""

import time

import machine
from agent.owner import FORGET, SET_UP, ask
from micropython import const

_SET_UP_MS = const(3000)
_FORGET_MS = const(10_000)
_STUCK_MS = const(30_000)
_POLL_MS = const(100)
_FULL_DUTY = const(65535)
_BLINKS_HZ = {"setting up": 1, "joining": 4, "in step": 1000, "updating": 10, "wrong": 1}
_LIT_PERCENT = {"in step": 100, "wrong": 10}  # half of the time in the others


def watch(board, pin):
    """Wait until the button is let go, and restart the board for what that asks for. Return the pin after a short
    press, None when the button is stuck."""
    held_ms = 0
    while not pin.value():
        board.feed()
        time.sleep_ms(_POLL_MS)
        held_ms += _POLL_MS
        if held_ms == _SET_UP_MS:
            board.show("setting up")
        elif held_ms == _FORGET_MS:
            board.show("wrong")
        elif held_ms == _STUCK_MS:
            return None
    if held_ms >= _SET_UP_MS:
        ask("/", FORGET if held_ms >= _FORGET_MS else SET_UP)
        board.reset()
    return pin


def show(pin: int, state: str) -> None:
    """Show this state, one of the five, on the LED at this pin."""
    duty = _FULL_DUTY * _LIT_PERCENT.get(state, 50) // 100
    machine.PWM(machine.Pin(pin, machine.Pin.OUT), freq=_BLINKS_HZ[state], duty_u16=duty)
