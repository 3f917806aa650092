"""HTTP, TLS and the clock. Knows nothing of GadgetKeeper or of firmware."""
