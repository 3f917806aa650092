"""Backup and restore of a data folder: its database, the firmware that its versions name, the first password."""

import hashlib
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from .database import Database
from .serving import ServingError, locked, make_folder, password_file
from .settings import FILE, Settings

_CHUNK_BYTES = 1 << 20


def backup(settings: Settings, target: Path) -> int:
    """Copy a data folder into the new folder `target`, whether a server uses it or not; how many firmware files there
    are. ServingError when there is nothing to copy, or `target` exists."""
    if not (settings.data / FILE).is_file():
        raise ServingError(f"{settings.data} holds no database")
    if target.exists() and any(target.iterdir()):
        raise ServingError(f"{target} is not empty: name a new folder")
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    copy = target / FILE
    copy.touch(0o600)
    database = Database(settings.url)
    try:
        # SQLite's own way: a copy of the file alone would lack what is still in its log.
        database.backup(copy)
    finally:
        database.close()
    # After the database: whatever this copy of it names was there when it was made.
    make_folder(Settings(data=target))
    names = _firmware_of(copy)
    for name in names:
        try:
            _copy(settings.firmware_folder / name, target / "firmware" / name)
        except FileNotFoundError:
            raise ServingError(f"version with firmware {name} was removed meanwhile: make the backup again") from None
    if password_file(settings.data).exists():
        _copy(password_file(settings.data), password_file(target))
        os.chmod(password_file(target), 0o600)
    return len(names)


def restore(source: Path, settings: Settings) -> int:
    """Make a data folder of a backup, after checking all of it; how many firmware files there are. ServingError when
    the backup is damaged or the folder has a database already."""
    if not (source / FILE).is_file():
        raise ServingError(f"{source} is no backup: it holds no {FILE}")
    with closing(sqlite3.connect(f"file:{source / FILE}?mode=ro", uri=True)) as connection:
        try:
            (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
        except sqlite3.DatabaseError as error:
            verdict = str(error)
    if verdict != "ok":
        raise ServingError(f"{source / FILE} is damaged: {verdict}")
    names = _firmware_of(source / FILE)
    for name in names:
        path = source / "firmware" / name
        if not path.is_file() or _sha256(path) != name:
            raise ServingError(f"{path} is missing or damaged")
    make_folder(settings)
    with locked(settings.data):
        if (settings.data / FILE).exists():
            raise ServingError(f"{settings.data} has a database already: name another folder, or move it away")
        for name in names:
            _copy(source / "firmware" / name, settings.firmware_folder / name)
        if password_file(source).exists():
            _copy(password_file(source), password_file(settings.data))
            os.chmod(password_file(settings.data), 0o600)
        # The database last: a folder with one is complete.
        _copy(source / FILE, settings.data / FILE)
        os.chmod(settings.data / FILE, 0o600)
    return len(names)


def _firmware_of(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        return [name for (name,) in connection.execute("SELECT DISTINCT firmware_sha256 FROM versions")]


def _copy(source: Path, target: Path) -> None:
    """A copy that is there as a whole, or not at all."""
    part = target.with_name(target.name + ".part")
    with source.open("rb") as reading, part.open("wb") as writing:
        shutil.copyfileobj(reading, writing, _CHUNK_BYTES)
        writing.flush()
        os.fsync(writing.fileno())
    os.chmod(part, 0o400)
    part.replace(target)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
