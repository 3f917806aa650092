"""Databases for the server's tests: each of them runs on SQLite and on a real PostgreSQL."""

import pytest

from host_tests.desk.server import postgres


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
