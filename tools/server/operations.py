"""What the people who run the server look at: is it well, what does it count."""

import logging
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

import prometheus_client
from fastapi import APIRouter, Depends
from fastapi.responses import Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from sqlalchemy import func, select, text

from .access import Ctx, vendor_only
from .errors import printable
from .model import Thing, Version, now_s
from .schemas import HealthView

router = APIRouter(tags=["operations"])

_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)
_HOUR_S = 3600

_requests = Counter("gadgetkeeper_requests", "Requests answered", ["method", "route", "status"])
_seconds = Histogram("gadgetkeeper_request_seconds", "Time until the end of the answer", ["route"], buckets=_BUCKETS)

log = logging.getLogger("gadgetkeeper.access")

Message = dict[str, Any]


class Counting:
    """ASGI middleware: counts and times the answers, and tells each in the access log."""

    def __init__(self, app: Callable) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Callable, send: Callable[[Message], Awaitable[None]]) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500
        began_s = time.perf_counter()

        async def send_counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_counted)
        finally:
            took_s = time.perf_counter() - began_s
            route = getattr(scope.get("route"), "path", "none")
            method = scope["method"] if route != "none" else "any"
            _requests.labels(method, route, status).inc()
            _seconds.labels(route).observe(took_s)
            if log.isEnabledFor(logging.INFO):
                address = scope["client"][0] if scope.get("client") else "-"
                path = printable(scope["path"])
                log.info("%s %s %s: %d in %.0f ms", address, scope["method"], path, status, took_s * 1000)


@router.get("/health", responses={503: {"model": HealthView}})
async def health(context: Ctx) -> HealthView:
    """Says "ok" while the database answers; 503 when it does not."""
    await context.database.read(lambda connection: connection.scalar(text("SELECT 1 FROM templates LIMIT 1")))
    return HealthView(status="ok")


@router.get("/metrics", dependencies=[Depends(vendor_only)], response_class=Response)
def metrics(context: Ctx) -> Response:
    """What Prometheus reads, with a vendor's password (basic_auth)."""
    registry: CollectorRegistry = prometheus_client.REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:  # several processes: each writes files, whoever is asked adds them up
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
    return Response(
        generate_latest(registry) + generate_latest(_fleet(context)), media_type="text/plain; version=0.0.4"
    )


def _fleet(context: Ctx) -> CollectorRegistry:
    """The fleet as the database has it now."""
    registry = CollectorRegistry()
    running = Gauge("gadgetkeeper_things", "Things by the version they have confirmed", ["version"], registry=registry)
    seen = Gauge("gadgetkeeper_things_seen_last_hour", "Things that called within the last hour", registry=registry)
    count = func.count()
    by_version = select(Thing.current_version_id, count).group_by(Thing.current_version_id)
    with context.database.reading() as session:
        names = dict(session.execute(select(Version.id, Version.number)).all())
        for version_id, things in session.execute(by_version):
            label = f"{names[version_id]} ({version_id[:8]})" if version_id else "none"
            running.labels(label).set(things)
        seen.set(session.scalar(select(count).where(Thing.last_seen_at > now_s() - _HOUR_S)) or 0)
    return registry
