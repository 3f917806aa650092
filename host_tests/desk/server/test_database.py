"""The database: a fleet's records survive a new server, and two that write at once."""

import asyncio
import sqlite3
import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, insert, select, text
from sqlalchemy.exc import IntegrityError, OperationalError

from tools.server.database import Database, SchemaError
from tools.server.model import Base, SerialNumber, Template, Thing, Version, bucket_of

# What 0.1 left behind: its tables as they were, one template with a version, a thing with a key and a property.
OF_0_1 = """
CREATE TABLE templates (id VARCHAR(32) NOT NULL, name VARCHAR NOT NULL, description VARCHAR NOT NULL,
  target_version_id VARCHAR(32), PRIMARY KEY (id), UNIQUE (name));
CREATE TABLE versions (id VARCHAR(32) NOT NULL, template_id VARCHAR(32) NOT NULL, number INTEGER NOT NULL,
  description VARCHAR NOT NULL, firmware_sha256 VARCHAR(64) NOT NULL, size_bytes INTEGER NOT NULL,
  created_at VARCHAR NOT NULL, PRIMARY KEY (id), UNIQUE (template_id, number),
  FOREIGN KEY(template_id) REFERENCES templates (id));
CREATE TABLE products (id VARCHAR(32) NOT NULL, name VARCHAR NOT NULL, description VARCHAR NOT NULL,
  template_id VARCHAR(32) NOT NULL, PRIMARY KEY (id), UNIQUE (name),
  FOREIGN KEY(template_id) REFERENCES templates (id));
CREATE TABLE serial_numbers (serial VARCHAR(64) NOT NULL, product_id VARCHAR(32) NOT NULL, PRIMARY KEY (serial),
  FOREIGN KEY(product_id) REFERENCES products (id));
CREATE TABLE things (id VARCHAR(32) NOT NULL, serial VARCHAR(64) NOT NULL, template_id VARCHAR(32) NOT NULL,
  name VARCHAR NOT NULL, description VARCHAR, api_key_sha256 VARCHAR(64) NOT NULL, pinned_version_id VARCHAR(32),
  current_version_id VARCHAR(32), current_since VARCHAR, PRIMARY KEY (id), UNIQUE (serial),
  FOREIGN KEY(serial) REFERENCES serial_numbers (serial), FOREIGN KEY(template_id) REFERENCES templates (id),
  UNIQUE (api_key_sha256), FOREIGN KEY(pinned_version_id) REFERENCES versions (id),
  FOREIGN KEY(current_version_id) REFERENCES versions (id));
CREATE INDEX ix_things_template_id ON things (template_id);
CREATE TABLE properties (thing_id VARCHAR(32) NOT NULL, property_id VARCHAR(64) NOT NULL, value_json VARCHAR NOT NULL,
  PRIMARY KEY (thing_id, property_id), FOREIGN KEY(thing_id) REFERENCES things (id));
INSERT INTO templates VALUES ('t', 'Thermometer', 'measures', 'v');
INSERT INTO versions VALUES ('v', 't', 1, 'first', 'abc', 7, '2026-11-24T06:17:43+00:00');
INSERT INTO products VALUES ('p', 'Kitchen', '', 't');
INSERT INTO serial_numbers VALUES ('THERM1', 'p'), ('THERM2', 'p');
INSERT INTO things VALUES ('i', 'THERM1', 't', 'Mine', NULL, 'hash', NULL, 'v', '2026-11-24T06:17:43+00:00');
INSERT INTO properties VALUES ('i', 'temperature', '21.5');
"""


@pytest.fixture
def database(database_url):
    made = Database(database_url)
    made.migrate()
    yield made
    made.close()


def test_migrations_make_what_the_tables_say(database, database_url):
    with create_engine(database_url).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_fleet_of_0_1_lives_on(tmp_path):
    path = tmp_path / "gadgetkeeper.sqlite"
    with sqlite3.connect(path) as old:
        old.executescript("PRAGMA journal_mode=WAL;" + OF_0_1)
    old.close()
    database = Database(f"sqlite:///{path}")
    for _ in range(2):  # started again, it has nothing left to do
        database.migrate()
    with database.reading() as session:
        thing = session.scalars(select(Thing)).one()
        assert (thing.id, thing.api_key_sha256, thing.current_version_id) == ("i", "hash", "v")
        assert (thing.current_since, thing.bucket) == (1795501063, bucket_of("THERM1"))
        assert [kept.value_json for kept in thing.properties] == ["21.5"]
        assert session.scalars(select(Version)).one().firmware_sha256 == "abc"
        assert session.scalars(select(Template)).one().things_named == 1
        assert session.scalars(select(SerialNumber.folded)).all() == ["therm1", "therm2"]
    with create_engine(f"sqlite:///{path}").connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    database.close()
    with sqlite3.connect(tmp_path / "gadgetkeeper-before-0003.sqlite") as kept:
        assert kept.execute("SELECT created_at FROM versions").fetchall() == [("2026-11-24T06:17:43+00:00",)]
    kept.close()


def test_database_of_a_newer_server_is_refused_and_left_alone(database, database_url):
    with create_engine(database_url).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaError, match="9999"):
        database.migrate()


@pytest.mark.parametrize("url", ["nonsense", "mysql://a/b", "postgresql://a/b"])
def test_address_that_is_no_database_of_ours(url):
    with pytest.raises(SchemaError, match="DATABASE_URL"):
        Database(url)


def test_write_that_fails_takes_no_other_with_it(database):
    def add(name):
        return lambda connection: connection.execute(insert(Template).values(name=name, description="")) and name

    async def writes():
        works = [database.write(add(name)) for name in ("a", "b", "a", "c")]
        return await asyncio.gather(*works, return_exceptions=True)

    outcomes = asyncio.run(writes())
    assert sorted(outcome for outcome in outcomes if not isinstance(outcome, IntegrityError)) == ["a", "b", "c"]
    with database.reading() as session:
        assert sorted(session.scalars(select(Template.name))) == ["a", "b", "c"]


def test_reads_go_on_while_another_program_holds_the_database(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'gadgetkeeper.sqlite'}")
    database.migrate()
    other = sqlite3.connect(tmp_path / "gadgetkeeper.sqlite", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")

    async def read_while_writing():
        writing = asyncio.ensure_future(
            database.write(lambda connection: connection.execute(insert(Template).values(name="a", description="")))
        )
        for _ in range(50):
            await asyncio.sleep(0)
            assert await database.read(lambda connection: connection.scalar(text("SELECT count(*) FROM things"))) == 0
        assert not writing.done()
        threading.Timer(0.2, other.rollback).start()
        await writing

    asyncio.run(read_while_writing())
    other.close()
    database.close()


def test_lock_that_another_program_never_gives_back_is_an_error_for_who_waits(tmp_path, monkeypatch):
    monkeypatch.setattr("tools.server.database._LOCK_TIMEOUT_S", 0.1)
    database = Database(f"sqlite:///{tmp_path / 'gadgetkeeper.sqlite'}")
    database.migrate()
    other = sqlite3.connect(tmp_path / "gadgetkeeper.sqlite", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")

    async def write():
        await database.write(lambda connection: connection.execute(insert(Template).values(name="a", description="")))

    with pytest.raises(OperationalError, match="locked"):
        asyncio.run(write())
    other.close()
    database.close()
