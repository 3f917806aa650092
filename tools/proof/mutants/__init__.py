"""Mistakes a careless engineer could commit: what they are, how they are made in a copy, and who notices."""
