"""A server that really listens and misbehaves by script, and a driver that calls it through the agent's transport."""
