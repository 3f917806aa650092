"""Everything that may go wrong, in two families: worth another try, and final until something changes."""


class AgentError(Exception):
    """A failure the agent understands: `code` for machines ("image_too_big"), a sentence for people."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


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
