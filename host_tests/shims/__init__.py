"""The virtual ESP32's face: what the agent imports as `machine`, `network`, `esp32`, ..., and what lies under it.

Runs on the MicroPython VM and on CPython. On the VM this folder is the import path, so its modules import one another
by their plain names; the desk imports flash, partitions, otadata and image from here as well.
"""
