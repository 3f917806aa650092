"""Proof by exhaustion that a power cut loses nothing: every flash operation of every story, cut in every way."""
