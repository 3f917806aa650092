"""What alembic runs: the migrations, in the transaction that the server has opened (see ../database.py)."""

from alembic import context

from tools.server.model import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_as_batch=True
)
context.run_migrations()
