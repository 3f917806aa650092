"""The device's logic, tested on CPython and, unchanged, on the MicroPython VM: both can import these modules."""
