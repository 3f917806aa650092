"""Rollouts that watch what they do, and things that failed last."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Columns for what is counted, and indexes for what is asked often."""
    op.add_column("things", sa.Column("failed_at", sa.BigInteger(), nullable=True))
    op.create_index("ix_things_failed_at", "things", ["failed_at"])
    op.add_column("rollouts", sa.Column("counted_since", sa.BigInteger(), nullable=False, server_default="0"))
    with op.batch_alter_table("rollouts") as rollouts:
        rollouts.alter_column("counted_since", server_default=None)
    op.drop_index("ix_rollout_members_outcome", "rollout_members")
    op.create_index("ix_rollout_members_outcome", "rollout_members", ["rollout_id", "outcome", "told_at", "outcome_at"])
