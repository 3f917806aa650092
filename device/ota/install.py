"""The order of an update, which survives a power cut anywhere. What follows after the reset is `reconcile`'s."""

from agent.record import Version
from agent.runner import Next, run


def install(device, target: Version, source: str) -> Next:
    """Bring this version into the free slot, and reset the board into its trial.

    `source` names the module whose `firmware(device, version_id, download)` returns the server's response. AgentError
    when that fails; a version that must not run here is then left alone. RuntimeError during a trial."""
    update = run("ota.plan", "plan", device, target)
    size_bytes = None
    if update.download:
        response = run(source, "firmware", device, target.id, update.download)
        try:
            body = run("ota.decoder", "open_body", response)
            size_bytes = run("ota.receiver", "receive", update, response, body)
        finally:
            response.close()
    return Next("ota.arming", "check_and_arm", update, size_bytes)
