"""One try with what the owner has named: the network, then the server. What works is kept."""

from agent.errors import AgentError
from agent.owner import text_or_bytes, write_owner
from agent.runner import run
from board import access_point
from micropython import const

from . import JOINED, NO_SERVER, NOT_REGISTERED

_ANSWERS = const(
    ("key_dropped", "no_target", "no_thing", "refused", "server_error")
)  # of a server that has been reached


def attempt(portal, keep_anyway: bool) -> str:
    """Join the network of the portal's choice, and return how it went. The choice is kept when the server answers, or
    with `keep_anyway`."""
    device, choice = portal.device, portal.choice
    device.board.show("joining")
    access_point.leave()
    try:
        _join(portal, [[text_or_bytes(choice.network), choice.password]])
        outcome = _reach_server(device, portal.serial)
        if outcome == NO_SERVER and keep_anyway:
            outcome = JOINED
        if outcome != NO_SERVER:
            if device.settings.thing_name != choice.name:
                device.record.save(renamed=False)
            write_owner(device.root, choice)
            return outcome
    except AgentError as error:
        _say(device, error)
        outcome = error.code
    device.board.show("setting up")
    return outcome


def rejoin(portal) -> bool:
    """Try the networks that the board knows already; return True when it has joined one."""
    try:
        _join(portal, portal.device.settings.wifi)
    except AgentError:
        return False
    return True


def _join(portal, networks: list) -> None:
    run("board.wifi", "connect", networks, portal.device.settings.country, portal.serve)


def _reach_server(device, serial: str) -> str:
    try:
        if device.settings.server.startswith("https"):
            run("net.clock", "set_clock", device)
        if device.record.api_key:
            run("gadgetkeeper.provision", "target_version", device)
        else:
            run("gadgetkeeper.provision", "activate", device, serial)
            device.console.step(2, "activated as thing {}", device.record.thing_id)
    except AgentError as error:
        _say(device, error)
        if error.code == NOT_REGISTERED:
            return NOT_REGISTERED
        if error.code not in _ANSWERS:
            return NO_SERVER
    finally:
        device.link.close()
    return JOINED


def _say(device, error: AgentError) -> None:
    device.console.say("setup: " + run("agent.sentences", "sentence", error))
