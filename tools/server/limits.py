"""How often somebody may do something: so many times at once, and then at a rate (a token bucket for each)."""

import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address

_KEPT = 100_000  # who has not come for longest is forgotten first


def network_of(address: str) -> str:
    """Whom to count an address with: itself, or for IPv6 its /64, of which one machine can have all addresses."""
    return ":".join(IPv6Address(address).exploded.split(":")[:4]) if ":" in address else address


class Limit:
    """`burst` times at once, then `per_s` times a second, for each name by itself."""

    def __init__(self, burst: int, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst = burst
        self._per_s = per_s
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str) -> int:
        """Take one; 0, or the seconds to wait when there is none left."""
        left, now_s = self._now(name)
        if left < 1:
            return max(1, round((1 - left) / self._per_s))
        self._left[name] = (left - 1, now_s)
        self._left.move_to_end(name)
        if len(self._left) > _KEPT:
            self._left.popitem(last=False)
        return 0

    def wait_s(self, name: str) -> int:
        """The seconds to wait for one; 0 when there is one now. Takes none."""
        left, _ = self._now(name)
        return 0 if left >= 1 else max(1, round((1 - left) / self._per_s))

    def _now(self, name: str) -> tuple[float, float]:
        now_s = self._clock()
        left, at_s = self._left.get(name, (float(self._burst), now_s))
        return min(float(self._burst), left + (now_s - at_s) * self._per_s), now_s
