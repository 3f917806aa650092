"""What a desk does with a board that already runs MicroPython: put the agent onto it, look into it, listen to it."""
