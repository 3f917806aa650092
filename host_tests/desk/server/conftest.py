"""Databases for the server's tests: each of them runs on SQLite and on a real PostgreSQL; and its commands."""

import pytest

from host_tests.desk.server import postgres
from tools.server.cli import main


@pytest.fixture(scope="session")
def postgresql():
    """A running PostgreSQL, one for each worker of the suite."""
    with postgres.cluster() as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path) -> str:
    """The address of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'gadgetkeeper.sqlite'}"
    return request.getfixturevalue("postgresql").database()


@pytest.fixture
def cli(field, monkeypatch, capsys):
    """Runs a command against the server of the module's `field`; status, standard output and standard error."""
    monkeypatch.setenv("GADGETKEEPER_SERVER", field.server.url)
    monkeypatch.setenv("GADGETKEEPER_PASSWORD", field.server.password)

    def run(*arguments) -> tuple[int, str, str]:
        status = main([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return run
