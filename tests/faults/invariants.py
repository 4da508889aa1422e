"""What must hold whatever was done to the service: sentences about what does not."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.faults.population import Expected
from tests.faults.system import PAGE_SIZE, System

_CARD_NUMBER = re.compile(r"(?<!\d)\d{16}(?!\d)")
_USER = ("name", "username", "email", "phone", "website", "company_name")
_ADDRESS = ("street", "city", "state", "postal_code", "country", "lat", "lng")
_CARD = ("last4", "brand", "exp_month", "exp_year")
# Deliveries after which RabbitMQ gives a message up.
_DELIVERY_LIMIT = 5
# Workers that may die of a chunk (CHUNK_MAX_ATTEMPTS).
_MOST_ATTEMPTS = 6
# Rows that the test itself has deleted, to be fetched again, noted in the transaction that did it.
LOST_ON_PURPOSE = "lost_on_purpose"
# Why a chunk may fail for good: the source's answer, or a request's message that the broker has not taken.
_EXPECTED_FAILURES = ("ProviderError", "ProviderNotFound", "ProviderRefused", "BrokerUnavailable")


@dataclass(frozen=True)
class Injected:
    """How often faults came, by name. killed: processes, and commits whose answer may have been lost, by fault."""

    by_name: Counter[str]
    killed: Counter[str]

    @property
    def kills(self) -> int:
        return self.killed.total()


@dataclass(frozen=True)
class Mirrored:
    """rows: users, addresses and cards that the source has. lost: those of them that are not there, or are not as the
    source has them. doubled: rows beyond the first of a natural key. stale: users who are gone and not marked, or the
    other way round.
    """

    rows: int
    lost: int
    doubled: int
    stale: int


def compare(system: System) -> Mirrored:
    """The mirror beside the source."""
    expected = system.population.expected()
    rows = system.deployment.pg.rows(
        f"SELECT u.external_id, u.removed_at, {_columns('u', _USER)}, a.user_id AS a_id, {_columns('a', _ADDRESS)},"
        f" c.user_id AS c_id, {_columns('c', _CARD)}"
        " FROM users u LEFT JOIN addresses a ON a.user_id = u.id LEFT JOIN credit_cards c ON c.user_id = u.id"
    )
    found = {row["external_id"]: row for row in rows}
    lost = sum(_lost(wanted, found.get(number)) for number, wanted in expected.items())
    stale = sum((row["removed_at"] is None) != (number in expected) for number, row in found.items())
    doubled = system.deployment.pg.value("""
        SELECT (SELECT count(*) - count(DISTINCT external_id) FROM users)
             + (SELECT count(*) - count(DISTINCT user_id) FROM addresses)
             + (SELECT count(*) - count(DISTINCT user_id) FROM credit_cards)
        """)
    wanted_rows = sum(1 + (each.address is not None) + (each.card is not None) for each in expected.values())
    return Mirrored(wanted_rows, lost, int(doubled), stale)


def unfinished(system: System, since: datetime) -> list[str]:
    """What is still to be done. since: when the last fault was taken away, by the database's clock."""
    pg = system.deployment.pg
    counts = {
        table: pg.value(f"SELECT count(*) FROM {table} WHERE status IN ('queued', 'running')")
        for table in ("runs", "run_chunks")
    }
    sentences = [f"{count} rows of {table} are open" for table, count in counts.items() if count]
    if not pg.value(
        "SELECT count(*) FROM runs WHERE status = 'succeeded' AND task = 'sync_users' AND created_at > %s", since
    ):
        sentences.append("no sync has succeeded since the last fault")
    mirrored = compare(system)
    if mirrored.lost:
        sentences.append(f"{mirrored.lost} of {mirrored.rows} rows are lost: not there, or not as the source has them")
    if mirrored.stale:
        sentences.append(f"{mirrored.stale} users are marked as removed and are not, or the other way round")
    sentences += [f"{count} messages are in {queue}" for queue, count in system.waiting().items()]
    return sentences


def broken(system: System, injected: Injected) -> list[str]:
    """What can only be wrong for good."""
    return [
        *_doubled(system),
        *_not_noted(system),
        *_ticks(system, injected),
        *_failed(system, injected),
        *_dead_letters(system, injected),
        *_miscounted(system, injected),
        *_logged(system),
    ]


def _doubled(system: System) -> Iterable[str]:
    if doubled := compare(system).doubled:
        yield f"{doubled} rows have the natural key of another one"


def _not_noted(system: System) -> Iterable[str]:
    """A row and the note of it in its chunk are of one transaction, so that they agree whatever was killed."""
    pg = system.deployment.pg
    for table, task in (
        ("users", "sync_users"),
        ("addresses", "enrich_missing_addresses"),
        ("credit_cards", "enrich_missing_cards"),
    ):
        rows = pg.value(f"SELECT count(*) FROM {table}")
        lost = pg.value(f"SELECT coalesce(sum(rows), 0) FROM {LOST_ON_PURPOSE} WHERE lost_from = %s", table)
        noted = pg.value(
            "SELECT coalesce(sum(c.inserted), 0) FROM run_chunks c JOIN runs r ON r.id = c.run_id WHERE r.task = %s",
            task,
        )
        if noted != rows + lost:
            yield f"{rows + lost} rows of {table} were inserted, and the chunks have noted {noted}"


def _ticks(system: System, injected: Injected) -> Iterable[str]:
    ticks = system.deployment.pg.rows(
        "SELECT task, scheduled_for, count(*) AS runs FROM runs WHERE scheduled_for IS NOT NULL"
        " GROUP BY 1, 2 HAVING count(*) > 1"
    )
    for tick in ticks:
        yield f"{tick['task']} has {tick['runs']} runs for the tick of {tick['scheduled_for']}"
    skipped = system.deployment.pg.rows("""
        SELECT task, sum(minutes - 1) AS ticks FROM (
            SELECT task, extract(epoch FROM scheduled_for - lag(scheduled_for) OVER (PARTITION BY task
            ORDER BY scheduled_for)) / 60 AS minutes FROM runs WHERE scheduled_for IS NOT NULL) gaps
        WHERE minutes > 1 GROUP BY task
        """)
    # Of the ticks that beat was away for, the last one is caught up.
    may_be_skipped = injected.by_name["beats down over a tick"]
    for row in skipped:
        if row["ticks"] > may_be_skipped:
            yield f"{row['ticks']:.0f} ticks of {row['task']} had no run, and {may_be_skipped} may have had none"


def _failed(system: System, injected: Injected) -> Iterable[str]:
    """A process or a server that dies is only a delay, and fails no chunk, but for one of which all workers die."""
    failed = system.deployment.pg.rows(
        "SELECT error_class, count(*), min(error_message) AS message FROM run_chunks WHERE status = 'failed' GROUP BY 1"
    )
    for row in failed:
        limit = injected.kills // _MOST_ATTEMPTS if row["error_class"] in ("Abandoned", "ProviderUnavailable") else 0
        if row["error_class"] not in _EXPECTED_FAILURES and row["count"] > limit:
            yield f"{row['count']} chunks have failed by {row['error_class']}: {row['message']}"


def _dead_letters(system: System, injected: Injected) -> Iterable[str]:
    names = injected.by_name
    # A broker that goes down may leave a letter twice, and takes back what it has not heard the end of.
    again = 4 * sum(count for name, count in names.items() if "broker" in name)
    failed = system.deployment.pg.value("SELECT count(*) FROM run_chunks WHERE status = 'failed'")
    expected = {
        ("app.tasks.users.no_such_task", "rejected"): names["message for an unknown task"] + again,
        ("no task at all", "rejected"): names["message of no task"] + again,
    }
    known = Counter[str]()
    for (task, reason), count in Counter(system.dead_letters()).items():
        if task.startswith("app.") and (task, reason) not in expected:
            known[reason] += count
        elif count > expected.get((task, reason), 0):
            yield f"{count} dead letters of {task} were {reason}, and {expected.get((task, reason), 0)} were expected"
    limits = {"rejected": failed + again, "delivery_limit": (injected.kills + again) // _DELIVERY_LIMIT}
    for reason, count in known.items():
        if count > limits.get(reason, 0):
            yield f"{count} chunks are dead letters ({reason}), and no more than {limits.get(reason, 0)} were expected"


def miscounted(system: System) -> dict[str, int]:
    """What the workers have counted more or less than the database says: runs by their end, rows by their result."""
    pg = system.deployment.pg
    counters = system.counters()
    off = {}
    for status in ("succeeded", "failed"):
        # Those that no worker began were ended by the api.
        runs = pg.value("SELECT count(*) FROM runs WHERE status = %s AND started_at IS NOT NULL", status)
        off[f"runs {status}"] = (
            round(sum(scrape.value("synergyway_runs_total", status=status) for scrape in counters)) - runs
        )
    for result in ("inserted", "updated", "unchanged", "rejected", "missing"):
        rows = int(pg.value(f"SELECT coalesce(sum({result}), 0) FROM run_chunks"))
        off[f"rows {result}"] = (
            round(sum(scrape.value("synergyway_rows_total", result=result) for scrape in counters)) - rows
        )
    return off


def _miscounted(system: System, injected: Injected) -> Iterable[str]:
    """Each kill may come between a commit and its count: of a run's end, or of a page's rows."""
    for what, off in miscounted(system).items():
        limit = injected.kills * (PAGE_SIZE if what.startswith("rows") else 1)
        if abs(off) > limit:
            yield f"{what}: the counters are off by {off}, and after the kills by no more than {limit} was expected"


def _logged(system: System) -> Iterable[str]:
    problems = Counter[str]()
    for role in system.deployment.roles:
        lines = role.log().splitlines()
        killed = role.process.poll() not in (None, 0)
        for number, line in enumerate(lines):
            for shown in _CARD_NUMBER.findall(line):
                if shown in system.population.card_numbers:
                    problems[f"{role.log_file.name} shows a card number"] += 1
            try:
                told = json.loads(line)
                has_words = bool(told["message"])
                # What libraries add is theirs.
                if "exc_info" in told and told["logger"].startswith("app."):
                    problems[f"{role.log_file.name} has a traceback of ours: {told['message']}"] += 1
            except (ValueError, KeyError, TypeError):
                # Its last line may have been cut off.
                has_words = killed and number == len(lines) - 1
            if not has_words:
                problems[f"{role.log_file.name} has a line that is no JSON with a message: {line[:200]}"] += 1
    for problem, count in problems.items():
        yield f"{problem} ({count} times)"


def tracebacks(system: System) -> Counter[str]:
    """What was logged with a traceback, by logger and error."""
    found = Counter[str]()
    for role in system.deployment.roles:
        for line in role.log().splitlines():
            with_error = json.loads(line) if line.startswith("{") and line.endswith("}") else {}
            if error := with_error.get("exc_info"):
                found[f"{with_error['level']} {with_error['logger']}: {error.splitlines()[-1][:160]}"] += 1
    return found


def _columns(alias: str, names: tuple[str, ...]) -> str:
    return ", ".join(f"{alias}.{name} AS {alias}_{name}" for name in names)


def _lost(wanted: Expected, row: dict[str, Any] | None) -> int:
    parts = (("u", wanted.user), ("a", wanted.address), ("c", wanted.card))
    present = [(alias, part) for alias, part in parts if part is not None]
    if row is None:
        return len(present)
    return sum(any(row[f"{alias}_{name}"] != value for name, value in part.items()) for alias, part in present)
