"""What Hypothesis generates from a seed, the same in every process."""

from hypothesis.internal.conjecture import providers


def same_everywhere() -> None:
    """From now on have Hypothesis draw no constants from the project's modules. It looks for them in whatever is
    loaded at that moment, so that a seed would mean other cases in another process; and the agent, which is loaded
    again and again, would be read for them each time."""
    none = providers.Constants()
    providers._get_local_constants = lambda: none
