"""The database: SQLite in the data folder, or PostgreSQL. How it is opened, brought up to date, read and written."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.orm import Session

FILE = "gadgetkeeper.sqlite"
"""The database's name in the data folder, unless DATABASE_URL names another database."""

THREADS = 12
"""Calls that use the database at once, in threads; there is a connection for each, so that none waits for one."""

_MIGRATIONS = Path(__file__).parent / "migrations"
_MIGRATION_LOCK = 0x6761646765  # PostgreSQL: one server migrates, the others wait
_LOCK_TIMEOUT_S = 5
_BATCH_MAX = 200
_TRY_AGAIN = ("40001", "40P01")  # PostgreSQL's codes: serialization failure, deadlock
_DISK_FULL = "53100"
_SPARE_CONNECTIONS = 8
_POSTGRESQL = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "options": "-c statement_timeout=15000 -c lock_timeout=5000 -c timezone=UTC",
}

Result = TypeVar("Result")


class Refusal(Exception):
    """What `work` raises when it will not write, before it has written anything."""


class SchemaError(Exception):
    """The database cannot be used by this server; the text says why and what to do."""


class Database:
    """The records. `url` is SQLAlchemy's: sqlite:///… or postgresql+psycopg://…"""

    def __init__(self, url: str) -> None:
        try:
            self.url = make_url(url)
        except ArgumentError as error:
            raise SchemaError(f"DATABASE_URL is no database address: {error}") from error
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if not self.is_sqlite and self.url.drivername != "postgresql+psycopg":
            raise SchemaError("DATABASE_URL must begin with postgresql+psycopg:// (or be left out: SQLite)")
        self._engine = _sqlite(self.url) if self.is_sqlite else _postgresql(self.url)
        self._immediate = self._engine.execution_options(begin="BEGIN IMMEDIATE")
        # A statement by itself needs no transaction.
        self._reads = self._engine.execution_options(begin=None)
        # PostgreSQL is waited for on the loop: a thread for each statement would take longer than the statement.
        self._loop_reads = None if self.is_sqlite else _asynchronous(self.url, isolation_level="AUTOCOMMIT")
        # SQLite takes one writer at a time. Those of this process line up here, where waiting costs nothing.
        self._one_writer = threading.Lock()
        self._writer = ThreadPoolExecutor(1, "database-writer")
        self._queue: list[tuple[Callable[[Connection], Any], asyncio.Future]] = []
        self._is_flushing = False

    def migrate(self, copy_first: bool = True) -> None:
        """Bring the schema up to date; a new database gets all of it. SchemaError when it is a newer server's. SQLite's
        file is copied before it is changed."""
        from alembic import command
        from alembic.config import Config
        from alembic.runtime.migration import MigrationContext
        from alembic.script import ScriptDirectory

        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        newest = ScriptDirectory.from_config(config).get_current_head()
        with self._immediate.begin() as connection:
            if not self.is_sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            present = MigrationContext.configure(connection).get_current_revision()
            if present == newest:
                return
            config.attributes["connection"] = connection
            tables = inspect(connection).get_table_names()
            if present is None and "things" in tables:
                command.stamp(config, "0001")
            elif present is not None and present not in _revisions(config):
                raise SchemaError(
                    f"the database has schema {present}, this server knows up to {newest}: it was used by a newer one;"
                    " start that one, or restore a backup"
                )
            if self.is_sqlite and copy_first and "things" in tables:
                self._copy_before(str(newest))
            command.upgrade(config, "head")

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees one state of the records."""
        with Session(self._engine) as session, session.begin():
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session that is committed at the end, rolled back on any exception. On SQLite it has the records to
        itself; on PostgreSQL, lock the rows that a decision rests on (`with_for_update`)."""
        if not self.is_sqlite:
            with Session(self._engine) as session, session.begin():
                yield session
            return
        with self._one_writer, Session(self._immediate) as session, session.begin():
            yield session

    async def read(self, work: Callable[[Connection], Result]) -> Result:
        """What `work` returns: one quick statement. On SQLite at once, on this thread: handing it to another one would
        take longer than the statement does, and readers wait for nobody."""
        if self._loop_reads is not None:
            try:
                return await _read_on_loop(self._loop_reads, work)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
            return await _read_on_loop(self._loop_reads, work)  # the connection was an old one, from before a restart
        with self._reads.connect() as connection:
            return work(connection)

    async def write(self, work: Callable[[Connection], Result]) -> Result:
        """What `work` returns, once committed; on an exception nothing of it stays. What comes while a transaction
        is under way shares the next one: the disk is waited for once for all of them. So `work` can run twice."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._queue.append((work, future))
        if not self._is_flushing:
            self._is_flushing = True
            self._flusher = loop.create_task(self._flush())
        return await future

    def backup(self, path: Path) -> None:
        """A consistent copy of the SQLite file, the server running or not."""
        with sqlite3.connect(str(self.url.database)) as source, sqlite3.connect(path) as target:
            source.backup(target)
        source.close()
        target.close()

    async def leave_loop(self) -> None:
        """Let go of what belongs to the running event loop, before it ends."""
        if self._loop_reads is not None:
            await self._loop_reads.dispose()

    def close(self) -> None:
        """Let go of it."""
        self._writer.shutdown()
        self._engine.dispose()

    async def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        while self._queue:
            batch, self._queue = self._queue[:_BATCH_MAX], self._queue[_BATCH_MAX:]
            works = [work for work, _ in batch]
            outcomes = await loop.run_in_executor(self._writer, self._write_batch, works)
            for (_, future), (result, error) in zip(batch, outcomes, strict=True):
                if future.done():  # whoever asked has gone
                    continue
                if error is None:
                    future.set_result(result)
                else:
                    future.set_exception(error)
        self._is_flushing = False

    def _write_batch(self, works: list[Callable[[Connection], Any]]) -> list[tuple[Any, Exception | None]]:
        try:
            try:
                return self._write_together(works, _plain)
            except DBAPIError as error:
                if not (isinstance(error, IntegrityError) or _sqlstate(error) in _TRY_AGAIN):
                    raise
            # One of them could not write, or met another process. Each by itself, the others can.
            return self._write_together(works, _by_itself)
        except Exception as error:  # a full disk, a database that is away: nothing of the batch was committed
            return [(None, error)] * len(works)

    def _write_together(
        self, works: list[Callable[[Connection], Any]], write: Callable[..., Any]
    ) -> list[tuple[Any, Exception | None]]:
        outcomes: list[tuple[Any, Exception | None]] = []
        alone = self._one_writer if self.is_sqlite else nullcontext()
        with alone, self._immediate.begin() as connection:
            for work in works:
                try:
                    outcomes.append((write(connection, work), None))
                except Refusal as error:
                    outcomes.append((None, error))
                except IntegrityError as error:
                    if write is not _by_itself:
                        raise
                    outcomes.append((None, error))
        return outcomes

    def _copy_before(self, revision: str) -> None:
        path = Path(str(self.url.database))
        copy = path.with_name(f"{path.stem}-before-{revision}{path.suffix}")
        copy.touch(0o600)
        self.backup(copy)


async def _read_on_loop(engine: AsyncEngine, work: Callable[[Connection], Result]) -> Result:
    async with engine.connect() as connection:
        return await connection.run_sync(work)


def _sqlstate(error: BaseException) -> str | None:
    return getattr(getattr(error, "orig", None), "sqlstate", None)


def _plain(connection: Connection, work: Callable[[Connection], Result]) -> Result:
    return work(connection)


def _by_itself(connection: Connection, work: Callable[[Connection], Result]) -> Result:
    with connection.begin_nested():
        return work(connection)


def is_disk_full(error: BaseException) -> bool:
    """True when a database error means that its disk is full."""
    original = getattr(error, "orig", None)
    return _sqlstate(error) == _DISK_FULL or getattr(original, "sqlite_errorname", "") == "SQLITE_FULL"


def reason_of(error: DBAPIError) -> str:
    """A database error in one line, without the statement."""
    return " ".join(str(error.orig or error).split())


def _revisions(config: Any) -> set[str]:
    from alembic.script import ScriptDirectory

    return {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}


def _sqlite(url: Any) -> Engine:
    engine = create_engine(
        url,
        connect_args={"timeout": _LOCK_TIMEOUT_S, "check_same_thread": False},
        pool_size=THREADS,
        max_overflow=_SPARE_CONNECTIONS + 40,
    )
    event.listen(engine, "connect", _on_sqlite_connect)
    event.listen(engine, "begin", _on_sqlite_begin)
    return engine


def _postgresql(url: Any) -> Engine:
    return create_engine(
        url,
        connect_args=_POSTGRESQL,
        pool_size=THREADS,
        max_overflow=_SPARE_CONNECTIONS,
        pool_timeout=_LOCK_TIMEOUT_S,
        pool_pre_ping=True,  # a connection from before a restart is not used
    )


def _asynchronous(url: Any, **options: Any) -> AsyncEngine:
    return create_async_engine(
        url, connect_args=_POSTGRESQL, pool_size=THREADS, max_overflow=0, pool_timeout=_LOCK_TIMEOUT_S, **options
    )


def _on_sqlite_connect(connection: Any, record: Any) -> None:
    # The driver would begin transactions by itself, and only at the first write: two requests could then both read
    # "no thing yet" before either writes.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")  # what was answered with success survives a power cut
    connection.execute("PRAGMA foreign_keys=ON")


def _on_sqlite_begin(connection: Connection) -> None:
    begin = connection.get_execution_options().get("begin", "BEGIN")
    if begin:
        connection.exec_driver_sql(begin)
