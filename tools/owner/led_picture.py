"""`python -m tools.owner.led_picture docs/led.svg`: what the board's LED shows in each state, as its code sets it."""

import sys
from pathlib import Path

from tools.twin import hardware
from tools.twin.paths import make_importable

STATES = {
    "setting up": "waits for its owner to name a network",
    "joining": "joins a network",
    "in step": "runs what it should, and measures",
    "updating": "downloads, checks or tries a firmware",
    "wrong": "something is wrong: the console says what; it measures, and tries again",
}
_SECONDS = 3
_SECOND_PX, _LEFT_PX, _ROW_PX, _BAR_PX, _TOP_PX, _WIDTH_PX = 120, 110, 46, 16, 24, 500
_FULL_DUTY = 65535
_STEADY_HZ = 100


def draw() -> str:
    """The picture, as SVG."""
    make_importable()
    from board import panel

    height = _TOP_PX + _ROW_PX * len(STATES) + 6
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH_PX} {height}" role="img" '
        'font-family="Helvetica, Arial, sans-serif" font-size="13">',
        "<title>What the LED shows in five states, over three seconds</title>",
        f'<rect width="{_WIDTH_PX}" height="{height}" fill="#fff"/>',
    ]
    for second in range(_SECONDS + 1):
        x = _LEFT_PX + second * _SECOND_PX
        parts.append(f'<text x="{x}" y="14" text-anchor="middle" font-size="11" fill="#555">{second} s</text>')
        parts.append(f'<path d="M{x} 18V{height - 6}" stroke="#ddd"/>')
    for row, (state, meaning) in enumerate(STATES.items()):
        hardware.world = {}
        panel.show(0, state)
        rate_hz, duty = hardware.world["leds"][0]
        top = _TOP_PX + row * _ROW_PX
        parts.append(f'<text x="8" y="{top + 13}" font-weight="bold">{state}</text>')
        parts.append(f'<text x="{_LEFT_PX}" y="{top + 32}" font-size="11" fill="#555">{meaning}</text>')
        parts += [
            f'<rect x="{_LEFT_PX + start * _SECOND_PX:.1f}" y="{top}" width="{length * _SECOND_PX:.1f}" '
            f'height="{_BAR_PX}" fill="#e80"/>'
            for start, length in _lit(rate_hz, duty / _FULL_DUTY)
        ]
    return "\n".join([*parts, "</svg>", ""])


def _lit(rate_hz: int, share: float) -> list[tuple[float, float]]:
    """Start and length, in seconds, of each time that the LED is lit; what is too fast to see is steady."""
    if rate_hz >= _STEADY_HZ:
        return [(0, _SECONDS)]
    return [(blink / rate_hz, share / rate_hz) for blink in range(_SECONDS * rate_hz)]


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(draw())
