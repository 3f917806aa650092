"""The server's tables. Times are whole seconds since 1970, UTC; keys, secrets and passwords are there only as hashes.

A change here needs a migration (migrations/versions): a test compares the two.
"""

import hashlib
import secrets
import time
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    case,
    func,
    select,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

BUCKETS = 10_000
"""Rollouts count shares of a fleet in ten-thousandths."""

ACTIVE_STATES = ("running", "paused")
"""The states in which a rollout decides what its members run. Paused, it takes in no more of them."""

_ID = String(32)
_NAME = String(200)
_HASH = String(64)
# SQLite counts only an INTEGER up by itself.
_COUNTED = BigInteger().with_variant(Integer, "sqlite")


def new_id() -> str:
    """A fresh Id or API key: 32 lowercase hex characters, not to be guessed."""
    return secrets.token_hex(16)


def now_s() -> int:
    """The time as it is stored."""
    return int(time.time())


def sha256_hex(text: str) -> str:
    """SHA-256 of a text, in hex: how keys and device secrets are stored. They are random: nothing slower is needed."""
    return hashlib.sha256(text.encode()).hexdigest()


def bucket_of(serial: str) -> int:
    """The place of a serial number in every rollout: 0 to BUCKETS - 1, always the same, evenly spread."""
    return int.from_bytes(hashlib.sha256(serial.encode()).digest()[:8], "big") % BUCKETS


class Base(DeclarativeBase):
    """What all tables have in common: nothing but the registry."""


class Vendor(Base):
    """Somebody who may make the vendor's calls."""

    __tablename__ = "vendors"
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    password_hash: Mapped[str] = mapped_column(Text)
    created_at: Mapped[int] = mapped_column(BigInteger, default=now_s)


class Template(Base):
    """What things of a kind have in common: above all their versions."""

    __tablename__ = "templates"
    id: Mapped[str] = mapped_column(_ID, primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(_NAME, unique=True)
    description: Mapped[str] = mapped_column(Text)
    # No foreign keys: versions and rollouts refer to their template already, and what these name is never removed.
    target_version_id: Mapped[str | None] = mapped_column(_ID)
    rollout_id: Mapped[str | None] = mapped_column(_ID)  # the one that is running or paused
    things_named: Mapped[int] = mapped_column(default=0, server_default="0")  # the number in the newest thing's name
    target_version: Mapped["Version | None"] = relationship(
        primaryjoin="foreign(Template.target_version_id) == Version.id", viewonly=True
    )


class Version(Base):
    """Immutable once created. `number` counts up from 1 within the template; the name is its text."""

    __tablename__ = "versions"
    __table_args__ = (UniqueConstraint("template_id", "number"),)
    id: Mapped[str] = mapped_column(_ID, primary_key=True, default=new_id)
    template_id: Mapped[str] = mapped_column(ForeignKey("templates.id"))
    number: Mapped[int]
    description: Mapped[str] = mapped_column(Text)
    firmware_sha256: Mapped[str] = mapped_column(_HASH, index=True)
    size_bytes: Mapped[int]
    is_signed: Mapped[bool] = mapped_column(default=False, server_default="0")
    details: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict, server_default="{}")  # release, notes: free
    created_at: Mapped[int] = mapped_column(BigInteger, default=now_s)

    @property
    def name(self) -> str:
        """What people call the version: "1", "2", ..."""
        return str(self.number)


class Product(Base):
    """What is sold: a name for serial numbers, and the template of the things they become."""

    __tablename__ = "products"
    id: Mapped[str] = mapped_column(_ID, primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(_NAME, unique=True)
    description: Mapped[str] = mapped_column(Text)
    template_id: Mapped[str] = mapped_column(ForeignKey("templates.id"))
    requires_device_secret: Mapped[bool] = mapped_column(default=False, server_default="0")


class SerialNumber(Base):
    """A serial number that may be activated. It is unique over all products: activation names nothing else."""

    __tablename__ = "serial_numbers"
    serial: Mapped[str] = mapped_column(String(64), primary_key=True)
    folded: Mapped[str] = mapped_column(String(64), index=True)  # lower case: to people ABC1 and abc1 are the same
    product_id: Mapped[str] = mapped_column(ForeignKey("products.id"), index=True)
    secret_sha256: Mapped[str | None] = mapped_column(_HASH)
    is_blocked: Mapped[bool] = mapped_column(default=False, server_default="0")
    product: Mapped[Product] = relationship()


class Thing(Base):
    """The server's side of one device."""

    __tablename__ = "things"
    __table_args__ = (Index("ix_things_fleet", "template_id", "current_version_id"),)
    id: Mapped[str] = mapped_column(_ID, primary_key=True, default=new_id)
    serial: Mapped[str] = mapped_column(ForeignKey("serial_numbers.serial"), unique=True)
    template_id: Mapped[str] = mapped_column(ForeignKey("templates.id"))
    name: Mapped[str] = mapped_column(_NAME, index=True)
    description: Mapped[str | None] = mapped_column(Text)
    api_key_sha256: Mapped[str | None] = mapped_column(_HASH, unique=True)  # None: blocked
    pinned_version_id: Mapped[str | None] = mapped_column(ForeignKey("versions.id"))
    current_version_id: Mapped[str | None] = mapped_column(ForeignKey("versions.id"))
    current_since: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[int] = mapped_column(BigInteger, default=now_s)
    last_seen_at: Mapped[int | None] = mapped_column(BigInteger, index=True)  # to the minute, written once in a while
    bucket: Mapped[int]  # of its serial number, for rollouts
    reports: Mapped[int] = mapped_column(default=0, server_default="0")  # how often its status property has changed
    failed_at: Mapped[int | None] = mapped_column(BigInteger, index=True)  # None: its last report is of no failure
    template: Mapped[Template] = relationship()
    pinned_version: Mapped[Version | None] = relationship(foreign_keys=[pinned_version_id])
    current_version: Mapped[Version | None] = relationship(foreign_keys=[current_version_id])
    properties: Mapped[list["Property"]] = relationship(order_by="Property.property_id", passive_deletes=True)


class Property(Base):
    """The value that a thing has reported last, as JSON text."""

    __tablename__ = "properties"
    __table_args__ = ({"sqlite_with_rowid": False},)
    thing_id: Mapped[str] = mapped_column(ForeignKey("things.id", ondelete="CASCADE"), primary_key=True)
    property_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    value_json: Mapped[str] = mapped_column(Text)
    written_at: Mapped[int] = mapped_column(BigInteger, default=now_s)


class Reading(Base):
    """A property's history: the first value of every interval. Intervals share a fixed number of slots, so that a new
    value takes the place of one that is too old: the history of a thing has a size that it cannot exceed."""

    __tablename__ = "readings"
    __table_args__ = ({"sqlite_with_rowid": False},)
    thing_id: Mapped[str] = mapped_column(ForeignKey("things.id", ondelete="CASCADE"), primary_key=True)
    property_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    slot: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[int] = mapped_column(BigInteger)
    value_json: Mapped[str] = mapped_column(Text)


class Report(Base):
    """What a thing has told about its updates (its status property), each change; the slots are used again as for
    Reading."""

    __tablename__ = "reports"
    __table_args__ = ({"sqlite_with_rowid": False},)
    thing_id: Mapped[str] = mapped_column(ForeignKey("things.id", ondelete="CASCADE"), primary_key=True)
    slot: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[int] = mapped_column(BigInteger)
    value_json: Mapped[str] = mapped_column(Text)


class Event(Base):
    """What somebody has done: a vendor by name, "thing", or "server"; kept for a while."""

    __tablename__ = "events"
    id: Mapped[int] = mapped_column(_COUNTED, primary_key=True)
    at: Mapped[int] = mapped_column(BigInteger, default=now_s, index=True)
    actor: Mapped[str] = mapped_column(String(64))
    address: Mapped[str | None] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(40))  # like "key dropped", "target set", "serial blocked"
    subject: Mapped[str] = mapped_column(_NAME, index=True)  # a serial number, or the Id of a template, rollout, ...
    text: Mapped[str] = mapped_column(Text, default="")


class Rollout(Base):
    """A version on its way to a template's things. Its members are the canaries, and every thing whose bucket is below
    `reach`."""

    __tablename__ = "rollouts"
    id: Mapped[str] = mapped_column(_ID, primary_key=True, default=new_id)
    template_id: Mapped[str] = mapped_column(ForeignKey("templates.id"), index=True)
    version_id: Mapped[str] = mapped_column(ForeignKey("versions.id"))
    state: Mapped[str] = mapped_column(String(16))  # running, paused, done, cancelled
    reason: Mapped[str] = mapped_column(Text, default="")  # of the state
    reach: Mapped[int] = mapped_column(default=0)  # 0 to BUCKETS
    stage: Mapped[int] = mapped_column(default=0)  # position of the stage that it is in
    stage_since: Mapped[int] = mapped_column(BigInteger, default=now_s)
    counted_since: Mapped[int] = mapped_column(BigInteger, default=now_s)  # resumed: what failed before is accepted
    failed_share_max: Mapped[int] = mapped_column(default=BUCKETS)  # of the members decided; with more it pauses
    members_min: Mapped[int] = mapped_column(default=1)  # with fewer members decided, shares mean nothing
    silent_after_s: Mapped[int] = mapped_column(default=3600)  # told so long ago and nothing heard: silent
    created_at: Mapped[int] = mapped_column(BigInteger, default=now_s)
    created_by: Mapped[str] = mapped_column(String(64))
    version: Mapped[Version] = relationship()
    stages: Mapped[list["RolloutStage"]] = relationship(order_by="RolloutStage.position", passive_deletes=True)


class RolloutStage(Base):
    """A step of a rollout: how far it reaches, and for how long at least."""

    __tablename__ = "rollout_stages"
    rollout_id: Mapped[str] = mapped_column(ForeignKey("rollouts.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    reach: Mapped[int]
    duration_s: Mapped[int]


class RolloutMember(Base):
    """A serial number in a rollout: a canary from its beginning, the others once their thing was told the version."""

    __tablename__ = "rollout_members"
    __table_args__ = (Index("ix_rollout_members_outcome", "rollout_id", "outcome", "told_at", "outcome_at"),)
    rollout_id: Mapped[str] = mapped_column(ForeignKey("rollouts.id", ondelete="CASCADE"), primary_key=True)
    serial: Mapped[str] = mapped_column(String(64), primary_key=True)
    is_canary: Mapped[bool] = mapped_column(default=False)
    told_at: Mapped[int | None] = mapped_column(BigInteger)
    outcome: Mapped[str | None] = mapped_column(String(16))  # confirmed, failed; None while it is open
    outcome_at: Mapped[int | None] = mapped_column(BigInteger)


class FleetCount(Base):
    """How many of a template's things ran a version at a time: what a bar of the fleet's history is made of."""

    __tablename__ = "fleet_counts"
    template_id: Mapped[str] = mapped_column(ForeignKey("templates.id", ondelete="CASCADE"), primary_key=True)
    at: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    version_id: Mapped[str] = mapped_column(_ID, primary_key=True)  # "": none confirmed yet
    things: Mapped[int]


def target_version_id() -> ColumnElement[str | None]:
    """The Id of the version that a thing should run, in a query that has joined `joins_for_target`: its pin, else what
    its template's rollout has for it, else its template's target."""
    of_rollout = case((_is_member(), Rollout.version_id))
    return func.coalesce(Thing.pinned_version_id, of_rollout, Template.target_version_id)


def rollout_to_tell_of() -> ColumnElement[str | None]:
    """The Id of the rollout that a thing is a member of without having been told yet; in the same query."""
    is_new = Thing.pinned_version_id.is_(None) & RolloutMember.told_at.is_(None) & _is_member()
    return case((is_new, Rollout.id))


def _is_member() -> ColumnElement[bool]:
    # Who has been told keeps the version while the rollout is paused. Nobody else is told then.
    is_reached = (Thing.bucket < Rollout.reach) | RolloutMember.is_canary
    return ((Rollout.state == "running") & is_reached) | RolloutMember.told_at.is_not(None)


def joins_for_target(query: Any) -> Any:
    """Join to a query of Thing what `target_version_id` needs."""
    is_canary = (RolloutMember.rollout_id == Rollout.id) & (RolloutMember.serial == Thing.serial)
    return (
        query.join(Template, Template.id == Thing.template_id)
        .outerjoin(Rollout, Rollout.id == Template.rollout_id)
        .outerjoin(RolloutMember, is_canary)
    )


def targets_of(*columns: Any) -> Any:
    """A query of things: these columns, then the Id of the version that each should run."""
    return joins_for_target(select(*columns, target_version_id()).select_from(Thing))
