"""The order of an update, which survives a power cut anywhere. What follows after the reset is `reconcile`'s."""

from agent.errors import AgentError
from agent.record import Version
from agent.runner import Next, run
from micropython import const

_IM_USED = const(226)


def install(device, target: Version, source: str) -> Next:
    """Bring this version into the free slot, and reset the board into its trial.

    `source` names the module whose `firmware(device, version_id, download)` returns the server's response. AgentError
    when that fails; a version that must not run here is then left alone. RuntimeError during a trial."""
    device.board.show("updating")
    update = run("ota.plan", "plan", device, target)
    if not update.download:
        return Next("ota.arming", "check_and_arm", update, None)
    response = None
    try:
        if update.offset:
            response = run("ota.resume", "fetch_rest", update, source)
        else:
            response = run(source, "firmware", device, target.id, update.download)
        if response.status_code == _IM_USED:
            body = run("ota.patch_opener", "open_patch", update, response)
        else:
            body = run("ota.decoder", "open_body", response)
        size_bytes = run("ota.receiver", "receive", update, response, body)
    except AgentError as error:
        return Next("ota.reconcile", "handle_failure", update, source, error, bool(response and response.bounded))
    finally:
        if response:
            response.close()
    return Next("ota.arming", "check_and_arm", update, size_bytes)
