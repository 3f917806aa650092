"""The thermometer's scenario, "Device provisioning", in the customer's order and words.

It is gone through at power-on and every `check_interval_s` after that; what is done already costs one request. Each
`run` is a phase: see `agent.runner`.
"""

from agent.runner import Next, run


def provision(device) -> "Next | None":
    """Register this thermometer with GadgetKeeper, and bring its firmware in step. Return None when that is done, or
    the phase that installs a new firmware, and ends with a reset. AgentError when a step fails."""
    record, console = device.record, device.console
    uses_tls = device.settings.server.startswith("https")

    # 1. Look up serial number
    serial = run("agent.serial_number", "read_serial_number", device.root)
    console.step(1, "serial number {}", serial)

    # At every start: the record follows what the chip runs, and TLS needs the time
    running = run("ota.reconcile", "reconcile", device)
    if uses_tls:
        run("net.clock", "set_clock", device)

    # 2. Initiate activation
    if not record.api_key:
        run("gadgetkeeper.provision", "activate", device, serial)
        console.step(2, "activated as thing {}", record.thing_id)
    if not record.renamed:
        run("gadgetkeeper.things", "rename", device)

    # 3. Get expected version information
    target = run("gadgetkeeper.provision", "target_version", device)
    if uses_tls:
        run("net.clock", "learn_time", device)

    # 3. Get version information for installed firmware
    installed_id = run("ota.reconcile", "installed_id", device, running)
    if installed_id is None and record.image is None and not running.on_trial:
        # No Id is stored yet. The server's is believed if it names the release that runs.
        current = run("gadgetkeeper.provision", "current_version", device)
        if current and device.settings.release in (None, current.name):
            installed_id = current.id
            record.save(version_id=current.id, slot=running.slot, image=running.image, confirmed=True)
    in_step = installed_id == target.id
    installed = "the same" if in_step else installed_id or "none"
    console.step(3, "target version {} ({}), installed: {}", target.name, target.id, installed)

    # A release on trial has reached the server; if its product works as well, it stays.
    if running.on_trial:
        run(device.settings.app, "prove", device)
        run("ota.trial", "prove", device, running)
        console.step(4, "the new firmware has proven itself in {}", running.slot)
        # Asked again: that boot.py has gone back to this release is known only now.
        in_step = run("ota.reconcile", "installed_id", device, running) == target.id
    if record.outcome:
        run("gadgetkeeper.things", "report_outcome", device)

    # 4. Download and install firmware
    held = run("ota.hold", "why_held", device, target)  # it has failed here, or too many were begun today
    if not in_step and not held:
        return Next("ota.install", "install", device, target, "gadgetkeeper.firmware")  # ends with a reset
    if not in_step:
        console.step(4, held)

    # 5. Confirm firmware update
    if record.version_id and not record.confirmed:
        run("gadgetkeeper.provision", "confirm", device, record.version_id)
        console.step(5, "version {} confirmed; Id stored", target.name if in_step else record.version_id)
    if in_step:
        console.say(f"in step with version {target.name}")
    return None
