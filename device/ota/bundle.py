"""The bundle check: is what lies in the image's segment for load address 0 a release that boot.py can run?"""

from agent.runner import run


def check_bundle(slot, release: int, product: str) -> int:
    """Check that the slot's bundle is this release of this product, and that the agent can run from it. Return the
    latest littlefs that it can mount, see `manifest`; PermanentError when it does not pass."""
    text = run("ota.bundle_files", "read_manifest", slot)
    manifest = run("agent.manifest_reader", "check_manifest", text, release, product)
    run("ota.bundle_files", "check_app", slot, manifest.app)
    return manifest.littlefs
