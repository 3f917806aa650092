"""A picture of a fleet that comes back: requests per second, with jitter and without."""

import io
import re
from pathlib import Path

from tools.proof.fleet.simulation import Outcome

_REFUSED, _SERVED, _IN_STEP = "#ee7733", "#228833", "#004488"
_SHOWN_S = 720


def draw(path: Path, outcomes: dict[str, Outcome]) -> None:
    """Write the SVG; the same outcomes give the same file."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "fleet", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot

    figure, rows = pyplot.subplots(len(outcomes), 1, figsize=(9, 3 * len(outcomes)), sharex=True, sharey=True)
    for axes, (title, outcome) in zip(rows, outcomes.items(), strict=True):
        _draw_one(axes, title, outcome)
    rows[-1].set_xlabel("minutes since the power came back")
    figure.tight_layout()
    rows[0].legend(loc="lower right", frameon=False)
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(re.sub(r"(\d\.\d)\d+", r"\1", text.getvalue()))  # a tenth of a point is exact enough


def _draw_one(axes, title: str, outcome: Outcome) -> None:
    server = outcome.server
    seconds = range(min(_SHOWN_S, int(outcome.ended_s)) + 1)
    minutes = [second / 60 for second in seconds]
    served = [server.served.get(second, 0) for second in seconds]
    total = [count + server.refused.get(second, 0) for second, count in zip(seconds, served, strict=True)]
    axes.fill_between(minutes, total, step="post", color=_REFUSED, linewidth=0, label="refused")
    axes.fill_between(minutes, served, step="post", color=_SERVED, linewidth=0, label="served")
    axes.set_yscale("symlog", linthresh=10)
    axes.set_xlim(0, _SHOWN_S / 60)
    axes.set_ylim(0, 3 * outcome.devices)
    axes.set_ylabel("requests per second")
    axes.axhline(server.capacity, color="black", linewidth=0.6, linestyle=":")
    limit = f"the server's limit, {server.capacity}"
    axes.annotate(limit, (_SHOWN_S / 60, server.capacity), (-4, 2), textcoords="offset points", ha="right", va="bottom")
    axes.axvline(server.recovers_s / 60, color="black", linewidth=0.6)
    recovers = (server.recovers_s / 60, 2 * outcome.devices)
    axes.annotate("the server recovers", recovers, (4, 0), textcoords="offset points", va="center")
    axes.set_title(f"{title}: {describe(outcome)}", loc="left")
    share = axes.twinx()
    reached = sorted(outcome.in_step_s)
    percent = [100 * (at + 1) / outcome.devices for at in range(len(reached))]
    share.plot(
        [0, *(at / 60 for at in reached), _SHOWN_S / 60],
        [0, *percent, *(percent[-1:] or [0])],
        color=_IN_STEP,
        drawstyle="steps-post",
    )
    share.set_ylim(0, 105)
    share.set_ylabel("% in step", color=_IN_STEP)


def describe(outcome: Outcome) -> str:
    """When the fleet was in step, in words."""
    almost_s = outcome.share_s(0.99)
    if almost_s is not None:
        return f"99 % in step after {minutes_text(almost_s)}"
    return f"{len(outcome.in_step_s) * 100 // outcome.devices} % in step after {minutes_text(outcome.ended_s)}"


def minutes_text(seconds: float) -> str:
    """5:46 min"""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02} min"
