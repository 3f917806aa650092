"""The agent's parts. `main.py` imports each where it is needed, so that none holds memory before its time."""
