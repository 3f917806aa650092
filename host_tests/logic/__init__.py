"""The agent's logic, tested on CPython and, unchanged, on the MicroPython VM: `host_tests/test_logic.py` runs both.

So these modules use only what both have. A test is a function named `test_*`; `world.py` holds what they share.
"""
