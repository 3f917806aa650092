"""Everything that can go wrong, in two families: worth another try, or permanent until somebody changes something.

An error carries a code and the values of its sentence. The sentences stand in `errors.txt`, which is read only when one
is printed, so that they hold no memory.
"""


class AgentError(Exception):
    """A failure that the agent understands; `args` are its code and the values that its sentence names."""

    call = ""  # the server call that failed
    retry_after_s: "int | None" = None  # when the server wants to be asked again

    @property
    def code(self) -> str:
        """What went wrong, for machines, like "image_too_big"."""
        return self.args[0]


class RetryableError(AgentError):
    """The same step may succeed later: no network, a busy server, an incomplete answer, a damaged image."""


class PermanentError(AgentError):
    """Another try changes nothing: somebody has to change the board, its settings, the firmware or the server."""
