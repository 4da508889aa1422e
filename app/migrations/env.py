"""Alembic's entry point: one transaction under a lock, so that any number of processes may start it at once."""

from alembic import context
from sqlalchemy import text

from app.db import Database
from app.models import Base
from app.settings import settings_or_exit

# Any number will do that no other program locks in this database.
_LOCK = 20_261_123


def upgrade() -> None:
    database = Database(settings_or_exit().database_url.get_secret_value())
    # On SQLite the transaction begins with the write lock; on PostgreSQL it ends with it.
    with database.transaction() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            transactional_ddl=False,
            render_as_batch=True,
            # PostgreSQL alone has it, and only where its extension may be created.
            include_name=lambda name, type_, _: not (type_ == "index" and name == "ix_users_search_text"),
        )
        context.run_migrations()
    database.dispose()


if context.is_offline_mode():
    raise SystemExit("Migrations read the database as they go: run them without --sql.")
upgrade()
