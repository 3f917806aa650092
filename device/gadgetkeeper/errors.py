"""Everything that may go wrong, in two families: worth another try, and final until something changes.

An error carries a code ("image_too_big") and the values of its sentence. The sentences stand in `errors.txt`, which is
read when one is said: text that is seldom needed holds no memory. For the same reason a meaning is a code, not a class.
"""


class AgentError(Exception):
    """A failure the agent understands; `args` are its code, and the values that its sentence names."""

    call = ""  # the server call in which it happened
    retry_after_s: "int | None" = None  # when the server wants to be asked again

    @property
    def code(self) -> str:
        """What went wrong, for machines."""
        return self.args[0]


class RetryableError(AgentError):
    """The same call may succeed later: network, server trouble, an incomplete answer, a damaged image."""


class FinalError(AgentError):
    """Trying again changes nothing: somebody has to change the device, its settings, the firmware or the server."""
