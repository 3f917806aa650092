"""Everything that may go wrong, in two families: worth another try, and final until something changes.

An error carries a code ("image_too_big") and the values of its sentence. The sentences stand in `errors.txt`, which is
read when one is said: text that is seldom needed holds no memory.
"""


class AgentError(Exception):
    """A failure the agent understands; `args` are the code for machines and the values that its sentence names."""

    call = ""  # the server call in which it happened

    @property
    def code(self) -> str:
        """What went wrong, for machines."""
        return self.args[0]


class RetryableError(AgentError):
    """The same call may succeed later: network, server trouble, an incomplete answer."""


class FinalError(AgentError):
    """Trying again changes nothing: somebody has to change the device, its settings or the server."""


class KeyDropped(RetryableError):
    """The server does not know the API key (401): a later activation dropped it. Activate once, then go on."""


class NotFound(FinalError):
    """The server has no such thing, version or serial number (404)."""


class BadImage(FinalError):
    """The firmware must never run here. Its version is left alone until the target changes."""


class DamagedImage(RetryableError):
    """The firmware on flash is not whole. Perhaps it was damaged on its way: worth a few more tries."""
