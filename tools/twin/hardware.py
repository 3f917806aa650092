"""What the chip's modules share in the device's process: flash, the world around the chip, the power supply's line.

The world: "wifi" {name: password}, "ds18x20" and "chip" temperatures in Celsius (None: no sensor).
"""

from tools.twin.flash import Flash

flash: "Flash" = None  # type: ignore[assignment]  # until power_on
world: dict = {}
running = ""  # label of the slot the boot loader has started
_control = None


class PowerLoss(BaseException):
    """Ends the program where no power supply is listening: a reset within a test's own process."""


def power_on(the_flash, the_world, running_label, control=None):
    """Give the chip's modules their chip; `control` is a binary file that the power supply reads."""
    global flash, world, running, _control
    flash, world, running, _control = the_flash, the_world, running_label, control


def tell(message):
    """Send the power supply one line."""
    if _control:
        _control.write(message.encode() + b"\n")


def reset(cause):
    """Reset the chip: nothing of this process survives. Does not return."""
    import time

    if not _control:
        raise PowerLoss(cause)
    tell("reset " + cause)
    while True:  # until the power supply has ended this process
        time.sleep(1)
