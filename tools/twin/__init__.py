"""The twin: a virtual ESP32 that runs the agent. One flash image file, and nothing else that outlives a reset."""

from tools.twin.device import RUNTIMES, Result, Twin, TwinError

__all__ = ["RUNTIMES", "Result", "Twin", "TwinError"]
