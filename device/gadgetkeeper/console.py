"""The one place that prints. Lines read like the scenario: `[3/5] target version 2 ...`."""

from micropython import const

_BAR_MARKS = const(40)
_UNKNOWN_SIZE_MARK_BYTES = const(65536)

_bar_marks = 0  # of the bar that is being drawn; 0 when none is


def say(text: str) -> None:
    """Print one line, after ending a bar that was being drawn."""
    global _bar_marks
    if _bar_marks:
        _bar_marks = 0
        print("|")
    print(text)


def step(number: int, text: str, *values: object) -> None:
    """Print one line of the scenario's step `number`."""
    say(f"[{number}/5] {text.format(*values)}")


def bar(title: str, done: int, size: "int | None") -> None:
    """Draw a progress bar as far as `done` bytes of `size`, by adding to the line: a serial console cannot go back."""
    global _bar_marks
    if _bar_marks == 0:
        print(title, end=" |")
        _bar_marks = 1
    marks = 1 + (done * _BAR_MARKS // size if size else done // _UNKNOWN_SIZE_MARK_BYTES)
    if marks > _bar_marks:
        print("#" * (marks - _bar_marks), end="")
        _bar_marks = marks
