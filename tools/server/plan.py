"""Stages and lengths of time as people write them, on the command line and in the console."""

COUNT_MAX = 1_000_000
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def stages(text: str) -> list[dict]:
    """The stages in a text like "1%:1d, 10%:12h, 100%:1d". ValueError says what is none."""
    found = []
    for part in listed(text):
        share, colon, time = part.partition(":")
        if not colon:
            raise ValueError(f"{part!r} is no stage like 10%:1d")
        found.append({"percent": percent(share.strip()), "durationS": time_s(time.strip())})
    return found


def stages_text(stages: list) -> str:
    """The same, the other way round."""
    return ", ".join(f"{stage.percent:g}%:{time_text(stage.durationS)}" for stage in stages)


def listed(text: str) -> list[str]:
    """What stands between commas, spaces and line ends, as far as it is anything."""
    return [part for part in text.replace(",", " ").split() if part]


def percent(text: str) -> float:
    """A percentage, like "5" or "5%"."""
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = -1
    if not 0 <= value <= 100:
        raise ValueError(f"{text!r} is no percentage: 0 to 100")
    return value


def count(text: str) -> int:
    """A number of things."""
    if text.isascii() and text.isdigit() and 0 < int(text[:10]) <= COUNT_MAX:
        return int(text)
    raise ValueError(f"{text!r} is no number of things: 1 to {COUNT_MAX}")


def time_s(text: str) -> int:
    """A length of time like "90s", "30m", "12h" or "2d", in seconds."""
    number, unit = text[:-1], text[-1:]
    if number.isascii() and number.isdigit() and len(number) < 10 and int(number) and unit in _UNITS_S:
        return int(number) * _UNITS_S[unit]
    raise ValueError(f"{text!r} is no length of time like 90s, 30m, 12h or 2d")


def time_text(seconds: int) -> str:
    """The same, the other way round: in the biggest unit that makes it whole."""
    for unit, unit_s in reversed(_UNITS_S.items()):
        if seconds % unit_s == 0:
            return f"{seconds // unit_s}{unit}"
    return f"{seconds}s"
