"""The agent's verdicts on images that lie in files, for comparison with the vendor's tools."""

from agent.errors import AgentError
from ota.image import check_image
from ota.slot import Slot

from tools.proof import scratch
from tools.twin.small_chip import power_on


def verdict(image, trusted, partition=None):
    """ "ok", or the code of the error that the check from flash raises for `image`."""
    partition = partition or power_on()
    slot = Slot(partition("ota_1"))
    slot.partition.writeblocks(0, image + b"\xff" * (-len(image) % 4096))
    try:
        check_image(slot, len(image), trusted)
    except AgentError as error:
        return error.code
    return "ok"


def files():
    """Print the verdict on each image in the scratch folder's `cases`: a line of file name and trusted keys each."""
    partition = power_on()
    with open(scratch.base + "cases") as cases:
        for case in cases:
            name, *trusted = case.split()
            with open(scratch.base + name, "rb") as file:
                print(name, verdict(file.read(), trusted, partition))
