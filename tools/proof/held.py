"""Keeps the agent's modules loaded: who calls them step by step holds on to them, as the device does not."""

import gadgetkeeper
import gadgetkeeper.firmware
import gadgetkeeper.install
import main


def keep_modules():
    """From now on the agent lets go of none of its modules."""
    gadgetkeeper.forget = gadgetkeeper.firmware.forget = gadgetkeeper.install.forget = main.forget = lambda: None
