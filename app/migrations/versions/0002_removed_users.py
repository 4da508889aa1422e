"""Users that the source no longer has; runs that are asked for over HTTP.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)
_FLAGS = ["has_address", "has_card", "id"]
# Each user is in the index of those at the source or in that of those removed. They take the place of three of all.
_FLAG_INDEXES = {"ix_users_present": "removed_at IS NULL", "ix_users_removed": "removed_at IS NOT NULL"}
_OLD_INDEXES = {
    "ix_users_has_address_has_card_id": _FLAGS,
    "ix_users_has_address_id": ["has_address", "id"],
    "ix_users_has_card_id": ["has_card", "id"],
}
_DUE_INDEXES = {
    "ix_users_address_due": (["address_due_at", "id"], "NOT has_address"),
    "ix_users_card_due": (["card_due_at", "id"], "NOT has_card"),
}
_NEW_OF_RUNS = ("idempotency_key", "idempotency_fingerprint", "removed", "note")


def upgrade() -> None:
    op.add_column("users", sa.Column("removed_at", _TIME))
    for name, which in _FLAG_INDEXES.items():
        _create_partial_index(name, "users", _FLAGS, sa.text(which))
    for name in _OLD_INDEXES:
        op.drop_index(name, "users")
    for name, (columns, lacking) in _DUE_INDEXES.items():
        op.drop_index(name, "users")
        _create_partial_index(name, "users", columns, sa.text(f"{lacking} AND removed_at IS NULL"))
    op.add_column("runs", sa.Column("idempotency_key", sa.String(255)))
    op.add_column("runs", sa.Column("idempotency_fingerprint", sa.String(64)))
    op.add_column("runs", sa.Column("removed", _BIG, nullable=False, server_default=sa.text("0")))
    op.add_column("runs", sa.Column("note", sa.Text()))
    op.create_index("uq_runs_idempotency_key", "runs", ["idempotency_key"], unique=True)
    op.create_index("ix_runs_task_id", "runs", ["task", "id"])
    op.create_index("ix_runs_status_id", "runs", ["status", "id"])
    op.create_table(
        "seen_pages",
        sa.Column("chunk_id", _BIG, sa.ForeignKey("run_chunks.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("position", _BIG, primary_key=True),
        sa.Column("external_ids", sa.ARRAY(sa.BigInteger()).with_variant(sa.JSON(), "sqlite"), nullable=False),
        sa.Column("records", sa.Integer(), nullable=False),
        sa.Column("total", sa.BigInteger()),
    )


def downgrade() -> None:
    op.drop_table("seen_pages")
    for name in ("uq_runs_idempotency_key", "ix_runs_task_id", "ix_runs_status_id"):
        op.drop_index(name, "runs")
    for column in _NEW_OF_RUNS:
        op.drop_column("runs", column)
    for name, (columns, lacking) in _DUE_INDEXES.items():
        op.drop_index(name, "users")
        _create_partial_index(name, "users", columns, sa.text(lacking))
    for name, columns in _OLD_INDEXES.items():
        op.create_index(name, "users", columns)
    for name in _FLAG_INDEXES:
        op.drop_index(name, "users")
    op.drop_column("users", "removed_at")


def _create_partial_index(name: str, table: str, columns: list[str], where: sa.TextClause) -> None:
    op.create_index(name, table, columns, postgresql_where=where, sqlite_where=where)
