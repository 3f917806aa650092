"""What the server does by itself, once in a while."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool

from . import fleet, history, rollouts
from .access import Context
from .errors import storage_error
from .model import now_s

log = logging.getLogger("gadgetkeeper")


@dataclass(frozen=True)
class Job:
    """Something to do every so many seconds. Where several processes share a database each of them does it."""

    name: str
    every_s: float
    run: Callable[[Context], Awaitable[None]]


async def write_last_seen(context: Context) -> None:
    """Write when things were seen."""
    await context.seen.write()


async def forget_events(context: Context) -> None:
    """Remove the events that are too old or too many."""
    await context.database.write(lambda connection: history.forget(connection, context.settings))


async def advance_rollouts(context: Context) -> None:
    """Pause rollouts that go wrong, take the others on."""
    await run_in_threadpool(rollouts.advance, context.database, now_s())


async def count_fleet(context: Context) -> None:
    """Count the things by version."""
    await context.database.write(lambda connection: fleet.count(connection, now_s()))


JOBS = (
    Job("last seen", 5, write_last_seen),
    Job("rollouts", 10, advance_rollouts),
    Job("fleet counts", 60, count_fleet),
    Job("events", 3600, forget_events),
)


async def run_all(context: Context) -> None:
    """Run all jobs until cancelled; then write down what is only in memory."""
    try:
        async with asyncio.TaskGroup() as group:
            for job in JOBS:
                group.create_task(_repeat(job, context))
    finally:
        with suppress(Exception):
            await context.seen.write()


async def _repeat(job: Job, context: Context) -> None:
    while True:
        await asyncio.sleep(job.every_s)
        try:
            await job.run(context)
        except Exception as error:
            if storage_error(error) is None:
                log.exception("the job %s failed", job.name)
