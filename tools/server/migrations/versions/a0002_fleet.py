"""From 0.1 to 0.2: vendors, device secrets, last seen, history, events, rollouts.

The tables of 0.1 are made anew and filled from the old ones: it is the same on SQLite and PostgreSQL, and nothing is
left of the old shape.
"""

from datetime import datetime

import sqlalchemy as sa
from alembic import op

from tools.server.model import bucket_of, now_s

revision = "0002"
down_revision = "0001"

_CHANGED = ("templates", "versions", "products", "serial_numbers", "things", "properties")
_CHUNK_ROWS = 1000


def upgrade() -> None:
    connection = op.get_bind()
    kept = {name: _rows(connection, name) for name in _CHANGED}
    op.drop_index("ix_things_template_id", "things")
    for name in reversed(_CHANGED):
        op.drop_table(name)
    _create_tables()
    for template in kept["templates"]:
        # 0.1 named a thing after the number of things; from now on names go on counting.
        named = sum(thing["template_id"] == template["id"] for thing in kept["things"])
        template |= {"things_named": named}
    tables = sa.MetaData()
    tables.reflect(connection, only=_CHANGED)
    for name in _CHANGED:
        rows = [row | _ADDED[name](row) for row in kept[name]]
        for start in range(0, len(rows), _CHUNK_ROWS):
            connection.execute(tables.tables[name].insert(), rows[start : start + _CHUNK_ROWS])


def _rows(connection: sa.Connection, table: str) -> list[dict]:
    return [dict(row) for row in connection.execute(sa.text(f"SELECT * FROM {table}")).mappings()]


_ADDED = {
    "templates": lambda row: {},
    "versions": lambda row: {"created_at": _seconds(row["created_at"])},
    "products": lambda row: {},
    "serial_numbers": lambda row: {"folded": row["serial"].lower()},
    "things": lambda row: {
        "current_since": row["current_since"] and _seconds(row["current_since"]),
        "created_at": now_s(),
        "bucket": bucket_of(row["serial"]),
    },
    "properties": lambda row: {"written_at": now_s()},
}


def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def _create_tables() -> None:
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=True),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_events_at", "events", ["at"])
    op.create_index("ix_events_subject", "events", ["subject"])
    op.create_table(
        "templates",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("target_version_id", sa.String(length=32), nullable=True),
        sa.Column("rollout_id", sa.String(length=32), nullable=True),
        sa.Column("things_named", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "vendors",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "fleet_counts",
        sa.Column("template_id", sa.String(length=32), nullable=False),
        sa.Column("at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("version_id", sa.String(length=32), nullable=False),
        sa.Column("things", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["template_id"], ["templates.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("template_id", "at", "version_id"),
    )
    op.create_table(
        "products",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("template_id", sa.String(length=32), nullable=False),
        sa.Column("requires_device_secret", sa.Boolean(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["template_id"],
            ["templates.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "versions",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("template_id", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("firmware_sha256", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("is_signed", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("details", sa.JSON(), server_default="{}", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["template_id"],
            ["templates.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("template_id", "number"),
    )
    op.create_index("ix_versions_firmware_sha256", "versions", ["firmware_sha256"])
    op.create_table(
        "rollouts",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("template_id", sa.String(length=32), nullable=False),
        sa.Column("version_id", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("reach", sa.Integer(), nullable=False),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("stage_since", sa.BigInteger(), nullable=False),
        sa.Column("failed_share_max", sa.Integer(), nullable=False),
        sa.Column("members_min", sa.Integer(), nullable=False),
        sa.Column("silent_after_s", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["template_id"],
            ["templates.id"],
        ),
        sa.ForeignKeyConstraint(
            ["version_id"],
            ["versions.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_rollouts_template_id", "rollouts", ["template_id"])
    op.create_table(
        "serial_numbers",
        sa.Column("serial", sa.String(length=64), nullable=False),
        sa.Column("folded", sa.String(length=64), nullable=False),
        sa.Column("product_id", sa.String(length=32), nullable=False),
        sa.Column("secret_sha256", sa.String(length=64), nullable=True),
        sa.Column("is_blocked", sa.Boolean(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["product_id"],
            ["products.id"],
        ),
        sa.PrimaryKeyConstraint("serial"),
    )
    op.create_index("ix_serial_numbers_folded", "serial_numbers", ["folded"])
    op.create_index("ix_serial_numbers_product_id", "serial_numbers", ["product_id"])
    op.create_table(
        "rollout_members",
        sa.Column("rollout_id", sa.String(length=32), nullable=False),
        sa.Column("serial", sa.String(length=64), nullable=False),
        sa.Column("is_canary", sa.Boolean(), nullable=False),
        sa.Column("told_at", sa.BigInteger(), nullable=True),
        sa.Column("outcome", sa.String(length=16), nullable=True),
        sa.Column("outcome_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollouts.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("rollout_id", "serial"),
    )
    op.create_index("ix_rollout_members_outcome", "rollout_members", ["rollout_id", "outcome"])
    op.create_table(
        "rollout_stages",
        sa.Column("rollout_id", sa.String(length=32), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("reach", sa.Integer(), nullable=False),
        sa.Column("duration_s", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollouts.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("rollout_id", "position"),
    )
    op.create_table(
        "things",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("serial", sa.String(length=64), nullable=False),
        sa.Column("template_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("api_key_sha256", sa.String(length=64), nullable=True),
        sa.Column("pinned_version_id", sa.String(length=32), nullable=True),
        sa.Column("current_version_id", sa.String(length=32), nullable=True),
        sa.Column("current_since", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("last_seen_at", sa.BigInteger(), nullable=True),
        sa.Column("bucket", sa.Integer(), nullable=False),
        sa.Column("reports", sa.Integer(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["current_version_id"],
            ["versions.id"],
        ),
        sa.ForeignKeyConstraint(
            ["pinned_version_id"],
            ["versions.id"],
        ),
        sa.ForeignKeyConstraint(
            ["serial"],
            ["serial_numbers.serial"],
        ),
        sa.ForeignKeyConstraint(
            ["template_id"],
            ["templates.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("api_key_sha256"),
        sa.UniqueConstraint("serial"),
    )
    op.create_index("ix_things_fleet", "things", ["template_id", "current_version_id"])
    op.create_index("ix_things_last_seen_at", "things", ["last_seen_at"])
    op.create_index("ix_things_name", "things", ["name"])
    op.create_table(
        "properties",
        sa.Column("thing_id", sa.String(length=32), nullable=False),
        sa.Column("property_id", sa.String(length=64), nullable=False),
        sa.Column("value_json", sa.Text(), nullable=False),
        sa.Column("written_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["thing_id"], ["things.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("thing_id", "property_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "readings",
        sa.Column("thing_id", sa.String(length=32), nullable=False),
        sa.Column("property_id", sa.String(length=64), nullable=False),
        sa.Column("slot", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("value_json", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["thing_id"], ["things.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("thing_id", "property_id", "slot"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "reports",
        sa.Column("thing_id", sa.String(length=32), nullable=False),
        sa.Column("slot", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("value_json", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["thing_id"], ["things.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("thing_id", "slot"),
        sqlite_with_rowid=False,
    )
