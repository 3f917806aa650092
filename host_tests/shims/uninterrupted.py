"""A block device that Ctrl-C cannot stop in the middle.

On the chip littlefs and the flash driver are C, and Ctrl-C waits for them. Here the flash is Python under littlefs' C:
an exception in it would end littlefs half-way.
"""

import chip


class Uninterrupted:
    def __init__(self, device):
        self._device = device

    def readblocks(self, *arguments):
        return _finish(self._device.readblocks, arguments)

    def writeblocks(self, *arguments):
        return _finish(self._device.writeblocks, arguments)

    def ioctl(self, *arguments):
        return _finish(self._device.ioctl, arguments)


def _finish(operation, arguments):
    try:
        return operation(*arguments)
    except KeyboardInterrupt:
        # What was done already is the same when it is done again. Ctrl-C comes again when littlefs is through.
        chip.tell("interrupted")
        return operation(*arguments)
