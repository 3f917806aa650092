"""What follows from a download that has failed."""

from agent.errors import AgentError, RetryableError
from agent.runner import Next, run
from micropython import const

_MALFORMED = const(("bad_base64", "bad_firmware_body", "firmware_cut"))


def handle(update, source: str, error: AgentError, is_bounded: bool) -> Next:
    """Return the phase that takes the whole firmware, when this error is about a patch; otherwise raise it. An answer
    that is complete (`is_bounded`: its end was marked) but malformed counts as a try, because each costs an erased
    slot."""
    if is_bounded and error.code == "patch_cut":  # the answer is complete, the patch in it is not
        error = RetryableError("patch_damaged", "end")
    if is_bounded and error.code in _MALFORMED and update.device.record.pending is update.pending:
        update.refuse(error)
    if not error.code.startswith("patch_") or error.code == "patch_cut":
        raise error
    update.say(run("agent.sentences", "sentence", error) + "; taking the whole firmware instead")
    run("ota.reconcile", "take_whole", update.device.record, update.pending, error)
    return Next("ota.install", "install", update.device, update.target, source)
