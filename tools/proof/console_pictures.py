"""Make the pictures of docs/console.md: a sample fleet, a server, Debian's Chromium.

`python -m tools.proof.console_pictures [--things 100000] [--keep FOLDER]`; also says how long each page takes.
"""

import argparse
import io
import json
import math
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
from PIL import Image
from playwright.sync_api import sync_playwright
from sqlalchemy import insert

from tools.server import Running, running
from tools.server.database import FILE, Database
from tools.server.model import (
    Event,
    FleetCount,
    Product,
    Property,
    Reading,
    Report,
    Rollout,
    RolloutMember,
    RolloutStage,
    SerialNumber,
    Template,
    Thing,
    Version,
    bucket_of,
    new_id,
    now_s,
    sha256_hex,
)

CHROMIUM = "/usr/bin/chromium"
DOCS = Path(__file__).parents[2] / "docs"

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400
_COLOURS = 96
_CHUNK = 10_000
_INTERVAL_S = 900
_RELEASES = ((1, 200, "First release"), (2, 24, "Reads the sensor twice"), (3, 11, "Sleeps between readings"))


def fill(database: Database, things: int) -> None:
    """Put a fleet into an empty database: three versions in the field, a fourth on its way to a tenth of the things."""
    chance, at = random.Random(1), now_s()
    template_id, product_id, rollout_id = new_id(), new_id(), new_id()
    versions = [new_id() for _ in range(4)]
    with database.writing() as session:
        template = Template(id=template_id, name="Thermometer", description="", target_version_id=versions[2])
        session.add(template)
        session.flush()
        ages = [*_RELEASES, (4, 2, "Joins networks with a hidden name")]
        for (number, age_days, description), version_id in zip(ages, versions, strict=True):
            file = {"firmware_sha256": sha256_hex(str(number)), "size_bytes": 1_690_000 + 2096 * number}
            times = {"created_at": at - age_days * _DAY_S, "is_signed": True}
            row = Version(id=version_id, template_id=template_id, number=number, description=description)
            for name, value in (file | times).items():
                setattr(row, name, value)
            session.add(row)
        session.add(Product(id=product_id, name="Kitchen", description="", template_id=template_id))
        session.flush()
        plan = {"failed_share_max": 500, "members_min": 10, "silent_after_s": _HOUR_S, "created_by": "vendor"}
        session.add(
            Rollout(
                id=rollout_id,
                template_id=template_id,
                version_id=versions[3],
                state="running",
                reach=1000,
                stage=2,
                stage_since=at - 5 * _HOUR_S,
                counted_since=at - 2 * _DAY_S,
                created_at=at - 2 * _DAY_S,
                **plan,
            )
        )
        session.flush()
        for position, reach in enumerate((0, 100, 1000, 5000, 10_000)):
            session.add(RolloutStage(rollout_id=rollout_id, position=position, reach=reach, duration_s=_DAY_S))
        template.rollout_id = rollout_id
    rows: dict[Any, list[dict]] = {each: [] for each in (SerialNumber, Thing, Property, RolloutMember)}

    def flush() -> None:
        with database.writing() as session:
            for kind, values in rows.items():
                if values:
                    session.execute(insert(kind), values)
                values.clear()

    for number in range(things):
        serial, thing_id = f"THERM{number + 1:011}", new_id()
        bucket = bucket_of(serial)
        current = chance.choices(versions[:3], (2, 9, 89))[0]
        seen = (
            at - chance.randrange(10 * _MINUTE_S) if chance.random() > 0.011 else at - chance.randrange(2, 20) * _DAY_S
        )
        failed_at = None
        if bucket < 1000:
            fate = chance.choices(("confirmed", "failed", None), (93, 1, 6))[0]
            told = at - chance.randrange(10, 300) * _MINUTE_S
            current = versions[3] if fate == "confirmed" else current
            failed_at = at - chance.randrange(300) * _MINUTE_S if fate == "failed" else None
            member = {"rollout_id": rollout_id, "serial": serial, "is_canary": False, "told_at": told}
            told_at = told if fate else at - chance.choice((5, 10, 20, 30, 40, 90)) * _MINUTE_S
            member |= {"told_at": told_at, "outcome": fate, "outcome_at": told + 120 if fate else None}
            rows[RolloutMember].append(member)
        rows[SerialNumber].append({"serial": serial, "folded": serial.lower(), "product_id": product_id})
        rows[Thing].append(
            {
                "id": thing_id,
                "serial": serial,
                "template_id": template_id,
                "name": f"Thermometer {number + 1}",
                "api_key_sha256": sha256_hex(serial),
                "current_version_id": current,
                "current_since": at - chance.randrange(1, 200) * _HOUR_S,
                "created_at": at - 100 * _DAY_S,
                "last_seen_at": seen,
                "bucket": bucket,
                "failed_at": failed_at,
            }
        )
        value = json.dumps(round(chance.gauss(21, 1.5), 2))
        rows[Property].append(
            {"thing_id": thing_id, "property_id": "temperature", "value_json": value, "written_at": seen}
        )
        if number % _CHUNK == _CHUNK - 1:
            flush()
    flush()
    _history(database, template_id, versions, things, at, chance)
    with database.writing() as session:
        events = [
            (2 * _DAY_S + 300, "vendor", "version created", template_id, "version 4"),
            (
                2 * _DAY_S,
                "vendor",
                "rollout started",
                rollout_id,
                "version 4: canaries for 1d, 1 % for 1d, 10 % for 1d",
            ),
            (_DAY_S + 5 * _HOUR_S, "server", "rollout stage", rollout_id, "version 4: 1 % of the things"),
            (5 * _HOUR_S, "server", "rollout stage", rollout_id, "version 4: 10 % of the things"),
            (
                20 * _MINUTE_S,
                "thing",
                "key dropped",
                "THERM00000000007",
                "activated again: the key from before is no longer valid",
            ),
        ]
        for ago_s, actor, kind, subject, text in events:
            address = None if actor == "server" else "192.0.2.17"
            session.add(Event(at=at - ago_s, actor=actor, address=address, kind=kind, subject=subject, text=text))


def _history(
    database: Database, template_id: str, versions: list[str], things: int, at: int, chance: random.Random
) -> None:
    """How the versions took over from each other in 30 days, and a week of readings and reports of one thing."""
    counts = []
    for days_ago in range(30, -1, -1):
        total = round(things * (1 - days_ago * 0.008))
        left = total
        for version_id, age_days in zip(reversed(versions), (2, 11, 24, 200), strict=True):
            days = age_days - days_ago
            grown = 0.093 * (days / 2) if age_days == 2 else min(0.98, 1 - math.exp(-days / 2.5))
            here = round(left * grown) if days > 0 and version_id != versions[0] else 0
            here = left if version_id == versions[0] else here
            left -= here
            hour = (at - days_ago * _DAY_S) // _HOUR_S * _HOUR_S
            if here:
                counts.append({"template_id": template_id, "at": hour, "version_id": version_id, "things": here})
    with database.writing() as session:
        session.execute(insert(FleetCount), counts)
        thing = session.query(Thing).where(Thing.serial == "THERM00000000007").one()
        thing.name, thing.description = "ThermometerDevice", "kitchen, north wall"
        thing.current_version_id, thing.current_since, thing.failed_at = versions[2], at - 9 * _DAY_S, None
        thing.last_seen_at, thing.reports = at - _MINUTE_S, 5
        slots = 7 * _DAY_S // _INTERVAL_S
        readings = []
        for step in range(1, slots):
            then = at - step * _INTERVAL_S
            day = math.sin((then % _DAY_S / _DAY_S - 0.35) * 2 * math.pi)
            if not 200 < step < 230:  # a night without network
                value = f"{20.5 + 1.6 * day + chance.gauss(0, 0.15):.2f}"
                slot = then // _INTERVAL_S % slots
                row = {
                    "thing_id": thing.id,
                    "property_id": "temperature",
                    "slot": slot,
                    "at": then,
                    "value_json": value,
                }
                readings.append(row)
        session.execute(insert(Reading), readings)
        told = [
            (24, "installed", 1, 1, None),
            (24, "confirmed", 1, None, None),
            (10, "trial", 2, 1, "rolled_back"),
            (9, "installed", 2, 2, None),
            (9, "confirmed", 2, None, None),
        ]
        for slot, (days_ago, phase, version, attempt, code) in enumerate(told, 1):
            told_json = json.dumps({"phase": phase, "versionId": versions[version], "attempt": attempt, "code": code})
            session.add(Report(thing_id=thing.id, slot=slot, at=at - days_ago * _DAY_S, value_json=told_json))


def main() -> int:
    """Make the pictures."""
    parser = argparse.ArgumentParser(prog="python -m tools.proof.console_pictures", description=__doc__)
    parser.add_argument("--things", type=int, default=100_000)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where the pictures go instead of docs")
    options = parser.parse_args()
    folder = options.keep or DOCS
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        data = Path(made)
        database = Database(f"sqlite:///{data / FILE}")
        database.migrate()
        began_s = time.monotonic()
        fill(database, options.things)
        database.close()
        print(f"{options.things} things made in {time.monotonic() - began_s:.0f} s", flush=True)
        with running(data) as server:
            pages = _pages(server)
            _time(server, pages)
            _draw(server, pages, folder)
    return 0


def _pages(server: Running) -> dict[str, str]:
    thing = server.vendor.thing("THERM00000000007")
    rollout = server.vendor.rollouts()[0]
    version = server.vendor.versions(thing["templateId"])[-1]
    return {
        "fleet": "/console/",
        "things": "/console/things",
        "thing": f"/console/things/{thing['id']}",
        "versions": "/console/versions",
        "rollouts": "/console/rollouts",
        "rollout": f"/console/rollouts/{rollout['id']}",
        "events": "/console/events",
        "search": "/console/things?search=THERM0000005",
        "search by name": "/console/things?search=Thermometer+777",
        "search, nothing found": "/console/things?search=nobody",
        "far into the list": "/console/things?after=THERM00000090000",
        "failing": "/console/things?state=failing",
        "silent": "/console/things?state=silent",
        "pending": "/console/things?state=pending",
        "pinned, none": "/console/things?state=pinned",
        "one version": f"/console/things?version={version['id']}",
        "one version's failing": f"/console/things?state=failing&version={version['id']}",
        "cancel": f"/console/rollouts/{rollout['id']}/cancel",
    }


def _time(server: Running, pages: dict[str, str]) -> None:
    """Say how long each page takes: the median of five, and the longest."""
    with httpx.Client(base_url=server.url, auth=("vendor", server.password), trust_env=False, timeout=60) as client:
        for name, path in pages.items():
            took_ms = []
            for _ in range(5):
                began_s = time.perf_counter()
                client.get(path).raise_for_status()
                took_ms.append((time.perf_counter() - began_s) * 1000)
            print(f"{name:24} {sorted(took_ms)[2]:6.0f} ms, at most {max(took_ms):.0f} ms", flush=True)


@dataclass(frozen=True)
class _Shot:
    """A picture of a page; without a height, of all of it."""

    page: str
    width: int = 860
    height: int | None = None
    scheme: Literal["light", "dark"] = "light"


_SHOTS = (_Shot("fleet"), _Shot("things", height=620), _Shot("thing", height=980), _Shot("rollout"), _Shot("versions"))
_PHONE = (_Shot("fleet", 320, 640), _Shot("things", 320, 640, "dark"), _Shot("thing", 320, 640))


def _draw(server: Running, pages: dict[str, str], folder: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])

        def taken(shot: _Shot) -> bytes:
            context = browser.new_context(
                http_credentials={"username": "vendor", "password": server.password},
                viewport={"width": shot.width, "height": shot.height or 600},
                color_scheme=shot.scheme,
            )
            page = context.new_page()
            page.goto(server.url + pages[shot.page])
            png = page.screenshot(full_page=shot.height is None)
            context.close()
            return png

        for shot in _SHOTS:
            _save(taken(shot), folder / f"console-{shot.page}.png")
        phone = [Image.open(io.BytesIO(taken(shot))) for shot in _PHONE]
        browser.close()
    together = Image.new("RGB", (320 * 3 + 40, 640), "#d5dae0")
    for number, picture in enumerate(phone):
        together.paste(picture, (number * 340, 0))
    out = io.BytesIO()
    together.save(out, "PNG")
    _save(out.getvalue(), folder / "console-phone.png")


def _save(png: bytes, path: Path) -> None:
    """With few colours: a page of text needs no more, and a tenth of the bytes."""
    picture = Image.open(io.BytesIO(png)).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)
    print(f"{path}: {path.stat().st_size // 1024} KiB", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
