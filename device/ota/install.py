"""The order of an update, which survives a power cut anywhere. What follows after the reset is `reconcile`'s."""

from agent.errors import AgentError, RetryableError
from agent.record import Version
from agent.runner import Next, run
from micropython import const

_IM_USED = const(226)
_MALFORMED = ("bad_base64", "bad_firmware_body", "firmware_cut")


def install(device, target: Version, source: str) -> Next:
    """Bring this version into the free slot, and reset the board into its trial.

    `source` names the module whose `firmware(device, version_id, download)` returns the server's response. AgentError
    when that fails; a version that must not run here is then left alone. RuntimeError during a trial."""
    device.board.show("updating")
    update = run("ota.plan", "plan", device, target)
    size_bytes = None
    if update.download:
        try:
            size_bytes = _download(update, source)
        except AgentError as error:
            if not error.code.startswith("patch_") or error.code == "patch_cut":
                raise
            update.say(run("agent.sentences", "sentence", error) + "; taking the whole firmware instead")
            run("ota.reconcile", "take_whole", device.record, update.pending, error)
            return Next("ota.install", "install", device, target, source)
    return Next("ota.arming", "check_and_arm", update, size_bytes)


def _download(update, source: str) -> int:
    """Write the firmware into the free slot; return its size."""
    if update.offset:
        response = run("ota.fetch", "fetch_rest", update, source)
    else:
        response = run(source, "firmware", update.device, update.target.id, update.download)
    bounded = response.bounded
    try:
        if response.status_code == _IM_USED:
            body = run("ota.patch_opener", "open_patch", update, response)
        else:
            body = run("ota.decoder", "open_body", response)
        return run("ota.receiver", "receive", update, response, body)
    except RetryableError as error:
        if bounded and error.code == "patch_cut":  # the answer is complete, the patch in it is not
            raise RetryableError("patch_damaged", "end")
        # So far a slot has been erased for it, and the next try's body may be as malformed: that has to end.
        if bounded and error.code in _MALFORMED and update.device.record.pending is update.pending:
            update.refuse(error)
        raise
    finally:
        response.close()
