"""Databases for the server's tests: each of them runs on SQLite and on a real PostgreSQL; and its commands."""

import shutil

import pytest

from host_tests.desk.server import postgres
from host_tests.desk.server.rig import Fields
from tools.server.cli import main
from tools.server.database import Database


@pytest.fixture(scope="session")
def postgresql():
    """A running PostgreSQL, one for each worker of the suite."""
    with postgres.cluster() as made:
        yield made


@pytest.fixture(scope="session")
def fields(request, tmp_path_factory) -> Fields:
    """Fields that are there at once."""
    return Fields(tmp_path_factory.mktemp("fields"), lambda: request.getfixturevalue("postgresql"))


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path) -> str:
    """The address of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'gadgetkeeper.sqlite'}"
    return request.getfixturevalue("postgresql").database()


@pytest.fixture(scope="session")
def originals() -> dict[str, str]:
    """The addresses of databases with all tables and no records, to be copied."""
    return {}


@pytest.fixture
def ready_url(database_url, request, originals, tmp_path, tmp_path_factory) -> str:
    """The address of a database with all tables and no records. How they come to be there is for test_database.py."""
    kind = "sqlite" if database_url.startswith("sqlite") else "postgresql"
    if kind not in originals:
        originals[kind] = database_url
        if kind == "sqlite":
            originals[kind] = f"sqlite:///{tmp_path_factory.mktemp('original') / 'gadgetkeeper.sqlite'}"
        database = Database(originals[kind])
        database.migrate()
        database.close()
    if kind == "postgresql":
        return request.getfixturevalue("postgresql").database(copied_from=originals[kind])
    shutil.copy(*(url.removeprefix("sqlite:///") for url in (originals[kind], database_url)))
    return database_url


@pytest.fixture
def cli(field, monkeypatch, capsys):
    """Runs a command against the server of the module's `field`; status, standard output and standard error."""
    monkeypatch.setenv("GADGETKEEPER_SERVER", field.server.url)
    monkeypatch.setenv("GADGETKEEPER_PASSWORD", field.server.password)

    def run(*arguments) -> tuple[int, str, str]:
        status = main([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return run
