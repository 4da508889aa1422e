"""A question to the database, for whoever asks it: a route, a page or the command line."""

from typing import Any, NamedTuple

from sqlalchemy import Executable


class Query(NamedTuple):
    """A statement and what it is executed with.

    A statement is built once for each form that a question can take: building one, and finding its text in
    SQLAlchemy's cache, costs more than executing it.
    """

    statement: Executable
    parameters: dict[str, Any]
