"""Firmware: slots, checks, and the update from the first byte to the confirmed trial. Knows no server."""
