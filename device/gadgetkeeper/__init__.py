"""GadgetKeeper's calls and their answers; another back end would stand beside it with the same functions."""
