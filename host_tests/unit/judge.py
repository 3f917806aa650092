"""The agent's verdicts on images that lie in files, for comparison with the vendor's tools."""

from gadgetkeeper.errors import AgentError
from gadgetkeeper.install import _check

from tools.proof import scratch
from tools.twin.small_chip import power_on


def verdict(image, trusted, partition=None):
    """ "ok", or the code of the error that the check from flash raises for `image`."""
    partition = partition or power_on()
    slot = partition("ota_1")
    slot.writeblocks(0, image + b"\xff" * (-len(image) % 4096))
    try:
        job = None, None, slot, partition(partition.RUNNING)
        _check(job, len(image), False, trusted, 301, memoryview(bytearray(4096)))
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
