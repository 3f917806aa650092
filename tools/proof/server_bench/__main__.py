"""`make bench-server`: polls, writes, activations and downloads of a fleet, on SQLite and PostgreSQL, beside nginx."""

import argparse
import contextlib
import itertools
import json
import os
import random
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tools import firmware
from tools.proof.server_bench import load, world

OUT = world.ROOT / "build" / "bench-server"
_CONNECTIONS = 16
_DOWNLOADS = 200
_DOWNLOADS_EACH = 4


def main() -> int:
    """Measure all of it, or what is asked for; a table, and build/bench-server/figures.json."""
    parser = argparse.ArgumentParser(prog="python -m tools.proof.server_bench", description=__doc__)
    parser.add_argument("--things", type=int, default=100_000)
    parser.add_argument("--activations", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--postgresql", metavar="URL", help="an empty database (postgresql+psycopg://…), instead of SQLite"
    )
    options = parser.parse_args()
    try:
        figures = measure(options)
    except KeyboardInterrupt:
        print("bench-server: interrupted", file=sys.stderr)
        return 1
    OUT.mkdir(parents=True, exist_ok=True)
    name = "postgresql" if options.postgresql else "sqlite"
    (OUT / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n")
    table = Table(title=f"{name}, {options.things:,} things, {options.workers} processes", box=None)
    table.add_column("what")
    table.add_column("figure", justify="right")
    for what, figure in figures.items():
        table.add_row(what, f"{figure:,.1f}")
    Console().print(table)
    return 0


def measure(options: argparse.Namespace) -> dict[str, float]:
    """All figures by name."""
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="gadgetkeeper-bench-") as name:
        folder = Path(name)
        data = folder / "data"
        data.mkdir()
        (folder / "app.bin").write_bytes(firmware.app_image("1.28.0"))
        url = options.postgresql or f"sqlite:///{data / 'gadgetkeeper.sqlite'}"
        world.fill(url, options.things, options.activations, folder / "app.bin", data)
        server_options = ["--accel-redirect", "/firmware/"]
        with world.server(data, options.postgresql, options.workers) as server:
            _device_calls(figures, server, options)
            _downloads(figures, "direct", server.port, server, options)
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(world.server(data, options.postgresql, options.workers, *server_options))
            port = stack.enter_context(world.nginx(folder / "nginx", server.port, data / "firmware", folder))
            _downloads(figures, "through nginx", port, server, options)
            static = load.run(
                port, itertools.repeat(_get("/static/app.bin"), _DOWNLOADS_EACH * _DOWNLOADS), _DOWNLOADS, 60
            )
            figures["nginx, the same file: MB/s"] = static.body_bytes / static.took_s / 1e6
            figures["through nginx / nginx"] = figures["through nginx: MB/s"] / figures["nginx, the same file: MB/s"]
            (folder / "small.json").write_text('{"id": "0", "name": "1", "description": ""}')
            small = load.run(port, itertools.repeat(_get("/static/small.json")), _CONNECTIONS, options.seconds / 2)
            figures["nginx, a small file: answers/s"] = small.per_s
            figures["polls / nginx's small file"] = figures["polls: answers/s"] / small.per_s
    return figures


def _device_calls(figures: dict[str, float], server: world.Server, options: argparse.Namespace) -> None:
    polls = load.run(server.port, _polls(options.things), _CONNECTIONS, options.seconds)
    figures["polls: answers/s"] = polls.per_s
    figures["polls: errors"] = polls.errors
    half = load.run(server.port, _polls(options.things), _CONNECTIONS * 4, options.seconds, polls.per_s / 2)
    figures["polls at half that rate: p50 ms"] = half.quantile_ms(0.5)
    figures["polls at half that rate: p99 ms"] = half.quantile_ms(0.99)
    paced = load.run(server.port, _polls(options.things), 64, options.seconds, 500)
    figures["polls at 500/s: p99 ms"] = paced.quantile_ms(0.99)
    writes = load.run(server.port, _writes(options.things), _CONNECTIONS * 4, options.seconds)
    figures["property writes: answers/s"] = writes.per_s
    figures["property writes: p99 ms"] = writes.quantile_ms(0.99)
    figures["property writes: errors"] = writes.errors
    serials = (f"THERM{number:014d}" for number in range(options.things, options.things + options.activations))
    activations = load.run(server.port, map(_activate, serials), _DOWNLOADS, 120)
    figures["activations: answers/s"] = activations.per_s
    figures["activations: p99 ms"] = activations.quantile_ms(0.99)
    figures["activations: answered"] = activations.answers
    figures["activations: errors"] = activations.errors


def _downloads(
    figures: dict[str, float], name: str, port: int, server: world.Server, options: argparse.Namespace
) -> None:
    peak = [0]
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(0.2):
            peak[0] = max(peak[0], server.memory_bytes())

    watching = threading.Thread(target=watch)
    watching.start()
    requests = (
        _get(
            f"/v1/things/{world.thing_of(number)}/versions/{world.VERSION}/firmware.json",
            f"X-ApiKey: {world.key_of(number)}\r\nAccept: application/octet-stream\r\n",
        )
        for number in range(_DOWNLOADS_EACH * _DOWNLOADS)
    )
    outcome = load.run(port, requests, _DOWNLOADS, 120)
    is_over.set()
    watching.join()
    figures[f"{name}: MB/s"] = outcome.body_bytes / outcome.took_s / 1e6
    figures[f"{name}: errors"] = outcome.errors
    figures[f"{name}: server's memory, MB"] = peak[0] / 1e6


def _polls(things: int) -> Iterator[bytes]:
    chance = random.Random(1)
    while True:
        number = chance.randrange(things)
        yield _get(f"/v1/things/{world.thing_of(number)}/versions/target.json", f"X-ApiKey: {world.key_of(number)}\r\n")


def _writes(things: int) -> Iterator[bytes]:
    chance = random.Random(2)
    while True:
        number = chance.randrange(things)
        body = f"{chance.uniform(15, 25):.4f}"
        yield (
            f"PUT /v1/things/{world.thing_of(number)}/properties/temperature/value.json HTTP/1.1\r\nHost: x\r\n"
            f"X-ApiKey: {world.key_of(number)}\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        ).encode()


def _activate(serial: str) -> bytes:
    return f"PUT /v1/things/activate/{serial}.json HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode()


def _get(path: str, headers: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode()


if __name__ == "__main__":
    sys.exit(main())
