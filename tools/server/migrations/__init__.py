"""The schema's history (alembic): a server that starts brings its database up to date."""
