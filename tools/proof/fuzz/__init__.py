"""`python -m tools.proof.fuzz`: generated input for all that the agent reads; it may raise its own errors only."""
