"""The twin: a virtual ESP32 that runs the device's code. One flash image file, and nothing else that outlives a reset.

`chip/` is what the device's code imports by bare name. The VM imports this package, too: it imports nothing.
"""
