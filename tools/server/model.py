"""The server's records in SQLite: templates and their versions, products and their serial numbers, things."""

import json
import secrets
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import ForeignKey, String, UniqueConstraint, create_engine, event
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, sessionmaker

_LOCK_TIMEOUT_S = 30


def new_id() -> str:
    """A fresh Id or API key: 32 lowercase hex characters, not to be guessed."""
    return secrets.token_hex(16)


def now() -> str:
    """The time as it is stored: ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Base(DeclarativeBase):
    """What all tables have in common: nothing but the registry."""


class Template(Base):
    """What things of a kind have in common: above all their versions."""

    __tablename__ = "templates"
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(unique=True)
    description: Mapped[str]
    # No foreign key: versions refer to their template already, and a version is never deleted.
    target_version_id: Mapped[str | None] = mapped_column(String(32))
    target_version: Mapped["Version | None"] = relationship(
        primaryjoin="foreign(Template.target_version_id) == Version.id", viewonly=True
    )

    def view(self) -> dict:
        """The template as the API shows it."""
        target = self.target_version
        return {
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "targetVersion": target and target.view(),
        }


class Version(Base):
    """Immutable once created. `number` counts up from 1 within the template; the name is its text."""

    __tablename__ = "versions"
    __table_args__ = (UniqueConstraint("template_id", "number"),)
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    template_id: Mapped[str] = mapped_column(ForeignKey("templates.id"))
    number: Mapped[int]
    description: Mapped[str]
    firmware_sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int]
    created_at: Mapped[str] = mapped_column(default=now)

    @property
    def name(self) -> str:
        """What people call the version: "1", "2", ..."""
        return str(self.number)

    def view(self) -> dict:
        """The version as the API shows it to a thing."""
        return {"id": self.id, "name": self.name, "description": self.description}

    def vendor_view(self) -> dict:
        """The version as the API shows it to the vendor."""
        more = {"sizeBytes": self.size_bytes, "sha256": self.firmware_sha256, "createdAt": self.created_at}
        return self.view() | more


class Product(Base):
    """What is sold: a name for serial numbers, and the template of the things they become."""

    __tablename__ = "products"
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(unique=True)
    description: Mapped[str]
    template_id: Mapped[str] = mapped_column(ForeignKey("templates.id"))

    def view(self) -> dict:
        """The product as the API shows it."""
        return {
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "templateId": self.template_id,
        }


class SerialNumber(Base):
    """A serial number that may be activated. It is unique over all products: activation names nothing else."""

    __tablename__ = "serial_numbers"
    serial: Mapped[str] = mapped_column(String(64), primary_key=True)
    product_id: Mapped[str] = mapped_column(ForeignKey("products.id"))
    product: Mapped[Product] = relationship()


class Thing(Base):
    """The server's side of one device. Only the SHA-256 of its API key is kept."""

    __tablename__ = "things"
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    serial: Mapped[str] = mapped_column(ForeignKey("serial_numbers.serial"), unique=True)
    template_id: Mapped[str] = mapped_column(ForeignKey("templates.id"), index=True)
    name: Mapped[str]
    description: Mapped[str | None]
    api_key_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    pinned_version_id: Mapped[str | None] = mapped_column(ForeignKey("versions.id"))
    current_version_id: Mapped[str | None] = mapped_column(ForeignKey("versions.id"))
    current_since: Mapped[str | None]
    template: Mapped[Template] = relationship()
    pinned_version: Mapped[Version | None] = relationship(foreign_keys=[pinned_version_id])
    current_version: Mapped[Version | None] = relationship(foreign_keys=[current_version_id])
    properties: Mapped[list["Property"]] = relationship(order_by="Property.property_id", cascade="all, delete-orphan")

    @property
    def target_version(self) -> Version | None:
        """The version this thing should run: its pin, else its template's target."""
        return self.pinned_version or self.template.target_version

    def view(self) -> dict:
        """The thing as the API shows it. `status` is "no target version", "update pending" or "up to date"."""
        current, target = self.current_version, self.target_version
        status = "no target version" if target is None else "up to date" if current is target else "update pending"
        return {
            "id": self.id,
            "serialNumber": self.serial,
            "name": self.name,
            "description": self.description,
            "templateId": self.template_id,
            "currentVersion": current and current.view(),
            "currentVersionSince": self.current_since,
            "targetVersion": target and target.view(),
            "pinned": self.pinned_version is not None,
            "status": status,
            "properties": {kept.property_id: json.loads(kept.value_json) for kept in self.properties},
        }


class Property(Base):
    """A value that a thing has reported, as JSON text."""

    __tablename__ = "properties"
    thing_id: Mapped[str] = mapped_column(ForeignKey("things.id"), primary_key=True)
    property_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    value_json: Mapped[str]


class Database:
    """The records in one SQLite file, made when it is not there yet. Raises sqlalchemy.exc.DatabaseError when the
    file cannot be opened or is something else."""

    def __init__(self, path: Path) -> None:
        self._engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": _LOCK_TIMEOUT_S})
        event.listen(self._engine, "connect", _on_connect)
        event.listen(self._engine, "begin", _on_begin)
        Base.metadata.create_all(self._engine)
        self._reading = sessionmaker(self._engine)
        self._writing = sessionmaker(self._engine.execution_options(begin="BEGIN IMMEDIATE"))

    def reading(self) -> AbstractContextManager[Session]:
        """A session that sees one state of the records."""
        return self._reading.begin()

    def writing(self) -> AbstractContextManager[Session]:
        """A session that has the records to itself; it is committed at the end, rolled back on any exception."""
        return self._writing.begin()

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()


def _on_connect(connection, record) -> None:
    # The driver would begin transactions by itself, and only at the first write: two requests could then both read
    # "no thing yet" before either writes.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA foreign_keys=ON")


def _on_begin(connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))
