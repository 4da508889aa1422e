"""Asking the database what the API asks it."""

import json
from typing import Any

from app.db import Database
from app.queries.query import Query
from app.settings import Settings


class Reader:
    """Making one connects to nothing."""

    def __init__(self, settings: Settings) -> None:
        self._database = Database(settings.database_url.get_secret_value(), pool_size=1)

    def all(self, query: Query) -> list[dict[str, Any]]:
        """What the JSON of each row says."""
        with self._database.reading() as connection:
            return [json.loads(row[1]) for row in connection.execute(query.statement, query.parameters)]

    def one(self, query: Query) -> dict[str, Any]:
        """What the JSON of the only row says."""
        [found] = self.all(query)
        return found
