"""Users with their addresses and credit cards, runs with their chunks.

Revision ID: 0001
Revises:
"""

import logging
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.exc import DBAPIError

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)
_NEVER_CHECKED = sa.text("'1970-01-01 00:00:00.000000'")
_OPEN = sa.text("status IN ('queued', 'running')")
_LACKING = {"addresses": "has_address", "credit_cards": "has_card"}

logger = logging.getLogger(__name__)


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", _BIG, primary_key=True),
        sa.Column("external_id", sa.BigInteger(), nullable=False, unique=True),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("username", sa.String(255)),
        sa.Column("email", sa.String(255)),
        sa.Column("phone", sa.String(255)),
        sa.Column("website", sa.String(255)),
        sa.Column("company_name", sa.String(255)),
        sa.Column("search_text", sa.Text(), nullable=False),
        sa.Column("has_address", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.Column("address_checks", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("address_due_at", _TIME, nullable=False, server_default=_NEVER_CHECKED),
        sa.Column("has_card", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.Column("card_checks", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("card_due_at", _TIME, nullable=False, server_default=_NEVER_CHECKED),
        *_timestamps(),
    )
    op.create_index("ix_users_has_address_has_card_id", "users", ["has_address", "has_card", "id"])
    op.create_index("ix_users_has_address_id", "users", ["has_address", "id"])
    op.create_index("ix_users_has_card_id", "users", ["has_card", "id"])
    _create_partial_index("ix_users_address_due", "users", ["address_due_at", "id"], sa.text("NOT has_address"))
    _create_partial_index("ix_users_card_due", "users", ["card_due_at", "id"], sa.text("NOT has_card"))
    op.create_table(
        "addresses",
        sa.Column("id", _BIG, primary_key=True),
        _user_id(),
        sa.Column("street", sa.String(255)),
        sa.Column("city", sa.String(255)),
        sa.Column("state", sa.String(255)),
        sa.Column("postal_code", sa.String(255)),
        sa.Column("country", sa.String(255)),
        sa.Column("lat", sa.Float()),
        sa.Column("lng", sa.Float()),
        *_timestamps(),
    )
    op.create_table(
        "credit_cards",
        sa.Column("id", _BIG, primary_key=True),
        _user_id(),
        sa.Column("last4", sa.String(4), nullable=False),
        sa.Column("brand", sa.String(255)),
        sa.Column("exp_month", sa.Integer()),
        sa.Column("exp_year", sa.Integer()),
        *_timestamps(),
    )
    op.create_table(
        "runs",
        sa.Column("id", _BIG, primary_key=True),
        sa.Column("task", sa.String(64), nullable=False),
        sa.Column("trigger", sa.String(16), nullable=False),
        sa.Column("scheduled_for", _TIME),
        sa.Column("batch_size", sa.Integer()),
        sa.Column("message_id", sa.String(255), unique=True),
        sa.Column("blocked_by", sa.BigInteger()),
        sa.Column("trace_id", sa.String(32)),
        *_outcome(),
        sa.UniqueConstraint("task", "scheduled_for"),
    )
    _create_partial_index("uq_runs_open_task", "runs", ["task"], _OPEN, unique=True)
    op.create_index("ix_runs_task_status_finished_at", "runs", ["task", "status", "finished_at"])
    op.create_table(
        "run_chunks",
        sa.Column("id", _BIG, primary_key=True),
        sa.Column("run_id", _BIG, sa.ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("work", sa.JSON()),
        sa.Column("position", _BIG, nullable=False, server_default=sa.text("0")),
        sa.Column("attempt", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("lease_token", sa.String(32)),
        sa.Column("lease_until", _TIME),
        sa.Column("message_id", sa.String(255)),
        sa.Column("not_before", _TIME, nullable=False),
        sa.Column("expected_by", _TIME, nullable=False),
        sa.Column("publications", sa.Integer(), nullable=False, server_default=sa.text("0")),
        *_outcome(),
        sa.UniqueConstraint("run_id", "number"),
    )
    _create_partial_index("ix_run_chunks_open", "run_chunks", ["status", "id"], _OPEN)
    for table, flag in _LACKING.items():
        _create_flag_triggers(table, flag)
    _create_search_index()


def downgrade() -> None:
    for table in ("run_chunks", "runs", "credit_cards", "addresses", "users"):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        for flag in _LACKING.values():
            for change in ("set", "clear"):
                op.execute(f"DROP FUNCTION users_{change}_{flag}()")


def _timestamps() -> list[sa.Column[Any]]:
    return [sa.Column("created_at", _TIME, nullable=False), sa.Column("updated_at", _TIME, nullable=False)]


def _user_id() -> sa.Column[Any]:
    return sa.Column("user_id", _BIG, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False, unique=True)


def _outcome() -> list[sa.Column[Any]]:
    return [
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("error_class", sa.String(255)),
        sa.Column("error_message", sa.Text()),
        *(
            sa.Column(name, _BIG, nullable=False, server_default=sa.text("0"))
            for name in ("inserted", "updated", "unchanged", "rejected", "missing")
        ),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("started_at", _TIME),
        sa.Column("finished_at", _TIME),
    ]


def _create_partial_index(
    name: str, table: str, columns: list[str], where: sa.TextClause, *, unique: bool = False
) -> None:
    op.create_index(name, table, columns, unique=unique, postgresql_where=where, sqlite_where=where)


def _create_flag_triggers(table: str, flag: str) -> None:
    """users.has_* follow the rows of the other tables, whoever inserts or deletes them."""
    for change, event, rows, value in (("set", "INSERT", "NEW", "true"), ("clear", "DELETE", "OLD", "false")):
        name = f"users_{change}_{flag}"
        if op.get_bind().dialect.name == "postgresql":
            # Users are locked in the order of their ids, as the upsert of users does, so that the two cannot deadlock.
            op.execute(f"""
                CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN
                    PERFORM FROM users JOIN changed ON changed.user_id = users.id
                    ORDER BY users.id FOR NO KEY UPDATE OF users;
                    UPDATE users SET {flag} = {value} FROM changed
                    WHERE users.id = changed.user_id AND users.{flag} <> {value};
                    RETURN NULL;
                END $$
                """)  # nosec B608  # names of our own
            op.execute(
                f"CREATE TRIGGER {name} AFTER {event} ON {table} REFERENCING {rows} TABLE AS changed "
                f"FOR EACH STATEMENT EXECUTE FUNCTION {name}()"
            )
        else:
            op.execute(
                f"CREATE TRIGGER {name} AFTER {event} ON {table} "
                f"BEGIN UPDATE users SET {flag} = {value} WHERE id = {rows}.user_id; END"  # nosec B608
            )


def _create_search_index() -> None:
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    try:
        with connection.begin_nested():
            connection.execute(sa.text("CREATE EXTENSION IF NOT EXISTS pg_trgm"))
            connection.execute(
                sa.text("CREATE INDEX ix_users_search_text ON users USING gin (search_text gin_trgm_ops)")
            )
    except DBAPIError as error:
        logger.warning(
            "searching users will read the whole table: the extension pg_trgm cannot be created (%s). A database "
            "administrator can create it, and then the index: CREATE INDEX ix_users_search_text ON users "
            "USING gin (search_text gin_trgm_ops)",
            error.orig,
        )
