"""The serial console: lines read like the scenario, `[3/5] target version 2 ...`."""

from micropython import const

_BAR_MARKS = const(40)
_UNKNOWN_SIZE_MARK_BYTES = const(65536)


class Console:
    """The one place that prints."""

    def __init__(self) -> None:
        self._marks = 0  # of the progress bar that is being drawn, 0 without one

    def say(self, text: str) -> None:
        """Print one line, below a bar that was being drawn."""
        if self._marks:
            self._marks = 0
            print("|")
        print(text)

    def step(self, number: int, text: str, *values: object) -> None:
        """Print one line of the scenario's step `number`."""
        self.say(f"[{number}/5] {text.format(*values)}")

    def progress(self, title: str, done_bytes: int, size_bytes: "int | None") -> None:
        """Draw a bar by adding to its line, because a serial console cannot go back."""
        if self._marks == 0:
            print(title, end=" |")
            self._marks = 1
        share = done_bytes * _BAR_MARKS // size_bytes if size_bytes else done_bytes // _UNKNOWN_SIZE_MARK_BYTES
        if share >= self._marks:
            print("#" * (share + 1 - self._marks), end="")
            self._marks = share + 1
