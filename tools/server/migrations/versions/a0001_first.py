"""The tables of 0.1, whose databases carry no revision: the server gives them this one."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "templates",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(), nullable=False, unique=True),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("target_version_id", sa.String(32)),
    )
    op.create_table(
        "versions",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("template_id", sa.String(32), sa.ForeignKey("templates.id"), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("firmware_sha256", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.String(), nullable=False),
        sa.UniqueConstraint("template_id", "number"),
    )
    op.create_table(
        "products",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(), nullable=False, unique=True),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("template_id", sa.String(32), sa.ForeignKey("templates.id"), nullable=False),
    )
    op.create_table(
        "serial_numbers",
        sa.Column("serial", sa.String(64), primary_key=True),
        sa.Column("product_id", sa.String(32), sa.ForeignKey("products.id"), nullable=False),
    )
    op.create_table(
        "things",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("serial", sa.String(64), sa.ForeignKey("serial_numbers.serial"), nullable=False, unique=True),
        sa.Column("template_id", sa.String(32), sa.ForeignKey("templates.id"), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("description", sa.String()),
        sa.Column("api_key_sha256", sa.String(64), nullable=False, unique=True),
        sa.Column("pinned_version_id", sa.String(32), sa.ForeignKey("versions.id")),
        sa.Column("current_version_id", sa.String(32), sa.ForeignKey("versions.id")),
        sa.Column("current_since", sa.String()),
    )
    op.create_index("ix_things_template_id", "things", ["template_id"])
    op.create_table(
        "properties",
        sa.Column("thing_id", sa.String(32), sa.ForeignKey("things.id"), primary_key=True),
        sa.Column("property_id", sa.String(64), primary_key=True),
        sa.Column("value_json", sa.String(), nullable=False),
    )
