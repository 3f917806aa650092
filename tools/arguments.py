"""What the desk's command lines take alike."""

import argparse


def count(text: str) -> int:
    """A number above 0, for argparse."""
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)
