"""What `make status` prints: a board's own facts, in words."""

from tools.twin import otadata

_STATES = {
    otadata.NEW: "NEW: gets its one boot at the next reset",
    otadata.PENDING_VERIFY: "PENDING_VERIFY: on trial",
    otadata.VALID: "VALID: has proven itself",
    otadata.INVALID: "INVALID: marked as unusable",
    otadata.ABORTED: "ABORTED: did not prove itself in its one boot",
    otadata.UNDEFINED: "UNDEFINED: boots without a trial",
}
_AGENTS = {
    "bundle": "in the image that runs",
    "compiled": "compiled (.mpy)",
    "source": "as source (.py)",
    "both": "some modules lie there twice, as .py and .mpy, and the .py wins: make deploy removes them",
    "former": "of version 0.1: make deploy brings the present one",
    "none": "none on this board: make deploy puts it there",
}


def lines(found: dict) -> list[tuple[str, str]]:
    """(what, how it is) for each line; `found` is what the snippet `status` answers."""
    return [
        ("serial number", _serial(found["serial"])),
        *_record(found["state"]),
        ("MicroPython", f"{found['micropython']} on {found['machine']}"),
        ("agent", _AGENTS[found["agent"]]),
        *_chip(found["chip"]),
        *_settings(found["config"], found["owner"]),
        ("file system", f"{found['free_bytes'] // 1024} of {found['size_bytes'] // 1024} KiB free"),
    ]


def _serial(serial: str | None) -> str:
    if serial is None:
        return "none: /serial.txt is missing"
    return "/serial.txt does not hold one" if serial == "?" else serial


def _record(state: dict | bool | None) -> list[tuple[str, str]]:
    if state is None:
        return [("thing", "not activated yet: there is no /state.json")]
    if state is False:
        return [("thing", "/state.json is not readable; the agent starts from what flash and server say")]
    key = "with an API key" if state["has_key"] else "without an API key"
    installed = state.get("versionId")
    version = f"version {installed} in {state.get('slot')}" if installed else "its version is not known"
    if installed:
        version += ", confirmed at the server" if state.get("confirmed") else ", not yet confirmed at the server"
    return [
        ("thing", f"{state.get('thingId', 'no Id')}, {key}"),
        ("firmware", version),
        ("update", _update(state["update"])),
        ("left alone", f"version {state['quarantined']}: it failed here" if "quarantined" in state else "no version"),
        ("last result", _verdict(state["verdict"])),
    ]


def _update(update: dict | None) -> str:
    if not update:
        return "none under way"
    phases = {
        "download": "download begun",
        "armed": "checked and armed, its trial comes next",
        "rolled back": "went back to the old firmware after a trial",
    }
    text = f"version {update['versionId']} into {update['slot']}: {phases.get(update['phase'], '?')}"
    text += f", {update['attempts']} attempts so far"
    return f"{text} [{update['code']}]" if update.get("code") else text


def _verdict(verdict: dict | None) -> str:
    if not verdict:
        return "nothing that the server does not know"
    text = f"version {verdict['versionId']}: {verdict['phase']}, attempt {verdict.get('attempt', '?')}"
    return f"{text} [{verdict['code']}]" if verdict.get("code") else text


def _chip(chip: dict | None) -> list[tuple[str, str]]:
    if chip is None:
        return [("slots", "none: this board is no ESP32")]
    slots = sorted((p for p in chip["partitions"] if p[0] == 0), key=lambda p: p[2])
    running = f"{chip['running']}, and the next reset starts "
    running += "the same" if chip["chosen"] == chip["running"] else str(chip["chosen"])
    found = [("runs", running)]
    for _, _, address, size, label, _ in slots:
        image = f"an ESP32 app, ESP-IDF {chip['images'][label]}" if label in chip["images"] else "no app"
        found.append((label, f"{size // 1024} KiB at {address:#x}: {image}"))
    ota = [p[4] for p in slots if 0 <= p[1] - 0x10 < 16]
    if len(ota) < 2 or not chip["otadata"]:
        found.append(
            ("otadata", "no two OTA slots: this board cannot be updated; make factory and make flash change that")
        )
        return found
    active = otadata.active_sector([tuple(record) for record in chip["otadata"]])
    for sector, record in enumerate(chip["otadata"]):
        found.append((f"otadata {sector}", _otadata(record, ota) + (" (this one counts)" if sector == active else "")))
    return found


def _otadata(record: list, ota: list[str]) -> str:
    sequence, state, sound = record
    if sequence == otadata.BLANK:
        return "blank"
    text = f"sequence {sequence}, {ota[(sequence - 1) % len(ota)]}, {_STATES.get(state, f'unknown state {state}')}"
    return text if sound else text + "; its crc is wrong"


def _settings(config: dict | bool | None, owner: str | None) -> list[tuple[str, str]]:
    if config is None:
        return [("settings", "the defaults: there is no /config.json")]
    if config is False:
        return [("settings", "/config.json is not readable: correct it, or remove it for the defaults")]
    known = ["(not a [name, password] pair)" if name == "?" else name for name in config["wifi"]]
    if owner is not None:
        known.insert(0, f"{'(its name is no text)' if owner == '?' else owner} (the owner's)")
    networks = ", ".join(known)
    keys = config["signing_keys"]
    return [
        ("server", config.get("server", "the default")),
        ("WiFi", networks or "no network given"),
        ("signing keys", f"{keys}" if keys else "none: firmware needs no signature"),
    ]
