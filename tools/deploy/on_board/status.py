"""Run on the board by `make status`: what the board knows about itself, as JSON.

Only what is named here leaves the board: never the API key, a WiFi password or a whole file.
"""

import binascii
import json
import os
import struct
import sys

ID = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"


def plain(value):
    """The value if it is a flag, a number or may be an Id; "?" for anything else."""
    if value is None or isinstance(value, (bool, int)):
        return value
    return value if isinstance(value, str) and 0 < len(value) <= 64 and all(char in ID for char in value) else "?"


def one_of(word, words):
    return word if word in words else "?"


def pick(record, *names):
    if not isinstance(record, dict):
        return None
    return {name: plain(record[name]) for name in names if name in record}


def read(path):
    """The file's JSON object; None without the file, False when it is none."""
    try:
        with open(path) as file:
            record = json.loads(file.read(8192))
        return record if isinstance(record, dict) else False
    except OSError:
        return None
    except ValueError:
        return False


def serial_number():
    try:
        with open("/serial.txt") as file:
            return plain(file.read(128).strip())
    except OSError:
        return None
    except ValueError:
        return "?"


def state():
    record = read("/state.json")
    if record in (None, False):
        return record
    picked = pick(record, "thingId", "renamed", "versionId", "slot", "confirmed", "quarantined")
    picked["has_key"] = "apiKey" in record
    update = pick(record.get("update"), "versionId", "slot", "attempts", "size")
    if update:
        update["phase"] = one_of(record["update"].get("phase"), ("download", "armed", "rolled back"))
        update["code"] = plain(record["update"].get("code"))
    picked["update"] = update
    verdict = pick(record.get("verdict"), "versionId", "attempt", "code")
    if verdict:
        verdict["phase"] = one_of(
            record["verdict"].get("phase"), ("download", "trial", "installed", "given up", "left")
        )
    picked["verdict"] = verdict
    return picked


def server(address):
    """Scheme, host and port, without what else may stand there: a name and password, a query."""
    if not isinstance(address, str) or "://" not in address:
        return "?"
    scheme, _, rest = address.partition("://")
    return scheme + "://" + rest.split("/")[0].split("?")[0].split("@")[-1]


def network_name(network):
    """What stands where a name belongs, in [name, password] or [name, password, [address, ...]]; else "?"."""
    if not isinstance(network, list) or not isinstance(network[0] if network else None, str):
        return "?"
    return network[0] if len(network) == 2 or (len(network) == 3 and isinstance(network[2], list)) else "?"


def config():
    record = read("/config.json")
    if record in (None, False):
        return record
    picked = pick(record, "report_interval_s", "check_interval_s", "onewire_pin", "temperature_property")
    if "server" in record:
        picked["server"] = server(record["server"])
    keys = record.get("signing_keys")
    picked["signing_keys"] = len(keys) if isinstance(keys, list) else 0
    networks = record.get("wifi", [])
    networks = networks if isinstance(networks, list) else ["?"]
    picked["wifi"] = [network_name(network) for network in networks]
    return picked


def owner():
    """The name of the network that the owner has given the board: as text, "?" when it is none; None without one."""
    record = read("/owner.json")
    if not record:
        return None
    try:
        return binascii.unhexlify(record["network"]).decode()
    except (KeyError, TypeError, ValueError):
        return "?"


def chip():
    """Partitions, what is in the app slots, and both otadata records; None on another chip."""
    try:
        from esp32 import Partition
    except ImportError:
        return None
    partitions = [list(p.info()) for kind in (0, 1) for p in Partition.find(kind)]
    head = bytearray(176)
    images = {}
    for slot in Partition.find(Partition.TYPE_APP):
        slot.readblocks(0, head, 0)
        if head[0] == 0xE9 and head[32:36] == b"\x32\x54\xcd\xab":
            images[slot.info()[4]] = "".join(
                chr(byte) for byte in bytes(head[144:176]).split(b"\0")[0] if 32 <= byte < 127
            )
    records = []
    record = bytearray(32)
    for otadata in Partition.find(Partition.TYPE_DATA, 0):
        for sector in range(2):
            otadata.readblocks(sector, record, 0)
            sequence, _, word, crc = struct.unpack("<I20sII", record)
            records.append([sequence, word, crc == binascii.crc32(record[:4], 0xFFFFFFFF) & 0xFFFFFFFF])
    try:
        chosen = Partition(Partition.BOOT).info()[4]
    except OSError:
        chosen = None
    running = Partition(Partition.RUNNING).info()[4]
    return {"partitions": partitions, "images": images, "otadata": records, "running": running, "chosen": chosen}


def files(folder):
    """The paths of all files in the folder and below."""
    found = []
    try:
        for name, kind, *_ in os.ilistdir(folder):
            path = folder + "/" + name
            found += [path] if kind == 0x8000 else files(path)
    except OSError:  # there is none
        pass
    return found


def agent():
    """How the agent lies here: "bundle" (in the image that runs), "compiled", "source", "both" (a .py next to its
    .mpy), "former" (0.1) or "none"."""
    try:
        paths = files("/release")
    except AttributeError:  # what boot.py has mounted there lists nothing
        return "bundle"
    if not paths:
        return "former" if files("/gadgetkeeper") else "none"
    stems = [{path[: -len(end)] for path in paths if path.endswith(end)} for end in (".mpy", ".py")]
    if stems[0] & stems[1]:
        return "both"
    return "compiled" if stems[0] else "source" if stems[1] else "none"


volume = os.statvfs("/")
print(
    json.dumps(
        {
            "machine": getattr(sys.implementation, "_machine", sys.platform),
            "micropython": ".".join(str(number) for number in sys.implementation[1][:3]),
            "agent": agent(),
            "serial": serial_number(),
            "state": state(),
            "config": config(),
            "owner": owner(),
            "chip": chip(),
            "free_bytes": volume[0] * volume[3],
            "size_bytes": volume[1] * volume[2],
        }
    )
)
