"""Keeps the service at work, does faults to it, and looks whether everything comes right."""

import contextlib
import logging
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from random import Random
from statistics import median

import psycopg
import requests

from tests.deployment import connect
from tests.faults.faults import ALL, Fault, NotInjected
from tests.faults.invariants import LOST_ON_PURPOSE, Injected, Mirrored, broken, compare, miscounted, unfinished
from tests.faults.system import API_TOKEN, TASKS, System

_ANSWER_SECONDS = 20
# Longer than any pause between two tries, and than messages that were lost are waited for.
_CALM_SECONDS = 420
# How often a fault is tried whose moment does not come.
_TRIES = 3
_DONE = "SELECT count(*) FROM run_chunks WHERE status = 'succeeded'"

logger = logging.getLogger(__name__)


@dataclass
class Injection:
    """A fault that was tried. Times in seconds of the monotonic clock. is_done: and not in part, or not at all."""

    fault: Fault
    is_done: bool
    heal_at: float
    healed: float | None = None


@dataclass(frozen=True)
class Figures:
    """What came of it.

    not_injected: faults whose moment did not come. broken: a sentence for each thing that does not hold.
    """

    broker: str
    injected: dict[str, int]
    not_injected: dict[str, int]
    mirrored: Mirrored
    runs: dict[str, int]
    chunks: int
    dead_letters: dict[str, int]
    answers: dict[str, int]
    kills: int
    miscounted: dict[str, int]
    seconds_to_recover: dict[str, list[float]]
    seconds_to_calm: float
    broken: list[str]

    def recovered(self) -> tuple[float, float]:
        """Seconds to recover, median and most."""
        seconds = [each for several in self.seconds_to_recover.values() for each in several]
        return (median(seconds), max(seconds)) if seconds else (0, 0)

    def line(self) -> str:
        middle, most = self.recovered()
        return (
            f"{self.broker}: {sum(self.injected.values())} faults of {len(self.injected)} kinds "
            f"({sum(self.not_injected.values())} more found no moment), "
            f"{self.mirrored.rows} rows, {self.mirrored.lost} lost, {self.mirrored.doubled} doubled, "
            f"{sum(self.runs.values())} runs ({self.runs.get('succeeded', 0)} succeeded, {self.runs.get('failed', 0)} "
            f"failed, {self.runs.get('skipped', 0)} skipped) in {self.chunks} chunks, "
            f"{sum(self.dead_letters.values())} dead letters, seconds to recover {middle:.1f} median {most:.1f} most, "
            f"{self.seconds_to_calm:.0f} s to calm, {len(self.broken)} invariants broken"
        )


@dataclass
class Engine:
    """run() does it all."""

    system: System
    seed: object
    injections: list[Injection] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._problems = self.system.problems
        self._chunk_times: list[float] = []
        self._over = threading.Event()
        self._calm = threading.Event()

    def run(self, faults: Iterable[type[Fault]], every_seconds: float, seconds: float | None = None) -> Figures:
        """Does a fault every so many seconds: until there are no more, or for so many seconds."""
        self.system.deployment.pg.rows(f"CREATE TABLE {LOST_ON_PURPOSE} (lost_from text, rows bigint)")
        self.system.start()
        threads = [
            threading.Thread(target=self._noting_its_end, args=(function,), daemon=True)
            for function in (self._watch, self._work, self._call_tasks)
        ]
        for thread in threads:
            thread.start()
        self._wait_for_first_sync()
        self._do(iter(faults), every_seconds, None if seconds is None else time.monotonic() + seconds)
        self._over.set()
        for thread in threads[1:]:
            thread.join(_ANSWER_SECONDS + 70)
        figures = self._find_calm()
        self._calm.set()
        return figures

    def _noting_its_end(self, function: Callable[[], None]) -> None:
        try:
            function()
        except Exception as error:
            logger.exception("%s has ended", function.__name__)
            self._problems.append(f"{function.__name__} has ended, so less was done to the service: {error}")

    def _wait_for_first_sync(self) -> None:
        deadline = time.monotonic() + 120
        while not self._chunk_times and time.monotonic() < deadline:
            time.sleep(0.2)

    def _do(self, faults: Iterator[type[Fault]], every_seconds: float, deadline: float | None) -> None:
        waiting: list[type[Fault]] = []
        next_at = time.monotonic()
        while deadline is None or time.monotonic() < deadline:
            self._heal_due()
            self._check_roles()
            if time.monotonic() >= next_at:
                next_at = max(next_at + every_seconds, time.monotonic())
                kind = next((kind for kind in waiting if self._is_possible(kind)), None)
                while kind is None and len(waiting) < 10:
                    drawn = next(faults, None)
                    if drawn is None:
                        break
                    if self._is_possible(drawn):
                        kind = drawn
                    else:
                        waiting.append(drawn)
                else:
                    if kind in waiting:
                        waiting.remove(kind)
                if kind is not None:
                    self._inject(kind)
                    if self._tries_in_vain(kind) % _TRIES:
                        waiting.append(kind)
                elif not waiting:
                    break
            time.sleep(0.1)
        for injection in self._active():
            self._heal(injection)

    def _active(self) -> list[Injection]:
        return [injection for injection in self.injections if injection.healed is None]

    def _is_possible(self, kind: type[Fault]) -> bool:
        taken = {injection.fault.part for injection in self._active()}
        return not taken & {kind.part, *kind.needs}

    def _tries_in_vain(self, kind: type[Fault]) -> int:
        """Since it was done last."""
        done = [injection.is_done for injection in self.injections if type(injection.fault) is kind]
        return len(done) - max((place for place, is_done in enumerate(done, 1) if is_done), default=0)

    def _inject(self, kind: type[Fault]) -> None:
        fault = kind(self.system)
        seconds = fault.seconds()
        logger.info("%s (%.1f s)", fault.name(), seconds)
        is_done = False
        try:
            fault.inject()
            is_done = True
        except NotInjected as reason:
            logger.info("%s: %s", fault.name(), reason)
        except Exception as error:
            logger.exception("%s could not be injected", fault.name())
            self._problems.append(f"{fault.name()} could not be injected: {error!r}")
        # What was done halfway is taken away like the rest.
        self.injections.append(Injection(fault, is_done, time.monotonic() + (seconds if is_done else 0)))
        self._heal_due()

    def _heal_due(self) -> None:
        for injection in self._active():
            if time.monotonic() >= injection.heal_at:
                self._heal(injection)

    def _heal(self, injection: Injection) -> None:
        injection.healed = time.monotonic()
        injection.fault.heal()

    def _check_roles(self) -> None:
        hurt = {injection.fault.part for injection in self._active()}
        if "worker" not in hurt:
            for worker in self.system.workers:
                if worker.role is not None and (code := worker.role.process.poll()) is not None:
                    self._problems.append(f"{worker.role.log_file.name}: the worker ended by itself with code {code}")
                    self.system.kill_worker(worker)
                    self.system.start_worker(worker)
        if "beat" not in hurt:
            for place, beat in enumerate(self.system.beats):
                if (code := beat.process.poll()) is not None:
                    self._problems.append(f"{beat.log_file.name}: beat ended by itself with code {code}")
                    self.system.beats[place] = self.system.start_beat()

    def _watch(self) -> None:
        """Notes when chunks become done."""
        pg = self.system.deployment.pg
        done = 0
        while not self._calm.is_set():
            with contextlib.suppress(psycopg.Error), connect(pg.server, pg.name) as connection:
                while not self._calm.wait(0.1):
                    (row,) = connection.execute(_DONE).fetchall()
                    if row["count"] > done:
                        done = row["count"]
                        self._chunk_times.append(time.monotonic())
            self._calm.wait(0.2)

    def _work(self) -> None:
        """Changes the source, loses rows that must be fetched again, and asks for runs."""
        random = Random(f"work {self.seed}")
        turn = 0
        while not self._over.wait(0.5):
            turn += 1
            self._ask("GET", "users?limit=5&count=true")
            if turn % 2 == 0:
                task = random.choice([*TASKS])
                batch_size = None if task == "sync_users" else random.choice([20, 100, 400])
                self._ask("POST", "runs", {"task": task, "batch_size": batch_size})
            if turn % 4 == 0:
                self.system.population.change()
            if turn % 5 == 0:
                self._lose_rows(random.choice(["addresses", "credit_cards"]))

    def _ask(self, method: str, path: str, body: object = None) -> None:
        try:
            response = requests.request(
                method,
                f"http://127.0.0.1:{self.system.api_port}/{path}",
                json=body,
                headers={"Authorization": f"Bearer {API_TOKEN}"},
                timeout=_ANSWER_SECONDS,
            )
            answer = str(response.status_code)
        except requests.RequestException as error:
            answer = type(error).__name__
        self.answers[f"{method} {answer}"] += 1

    def _lose_rows(self, table: str) -> None:
        with contextlib.suppress(psycopg.Error):
            self.system.deployment.pg.rows(
                f"WITH lost AS (DELETE FROM {table} WHERE user_id IN (SELECT user_id FROM {table} ORDER BY random()"
                f" LIMIT 60) RETURNING 1) INSERT INTO {LOST_ON_PURPOSE} SELECT %s, count(*) FROM lost RETURNING rows",
                table,
            )

    def _call_tasks(self) -> None:
        """As a person does in a shell; what the broker does not take is theirs to ask for again."""
        random = Random(f"calls {self.seed}")
        while not self._over.wait(15):
            with contextlib.suppress(subprocess.SubprocessError):
                self.system.deployment.call(random.choice([*TASKS.values()]))

    def _find_calm(self) -> Figures:
        pg = self.system.deployment.pg
        began = time.monotonic()
        since = pg.value("SELECT now()")
        self._end_pauses()
        if not self._api_starts_runs(began + _CALM_SECONDS):
            self._problems.append(f"the api has started no run within {_CALM_SECONDS} s after the last fault")
        while (left := unfinished(self.system, since)) and time.monotonic() < began + _CALM_SECONDS:
            logger.info("still to be done: %s", "; ".join(left))
            self._check_roles()
            time.sleep(2)
        calm = time.monotonic() - began
        allowed = {"GET 200", "GET 503", "POST 202", "POST 503"}
        answers = [
            f"the api answered {answer} ({count} times)"
            for answer, count in self.answers.items()
            if answer not in allowed
        ]
        done = Counter(injection.fault.name() for injection in self.injections if injection.is_done)
        not_injected = Counter(injection.fault.name() for injection in self.injections if not injection.is_done)
        killed = Counter[str]()
        for injection in self.injections:
            killed[injection.fault.name()] += injection.fault.kills
        injected = Injected(done, killed)
        never = [
            f"{name} was tried {tries} times, and not done"
            for name, tries in not_injected.items()
            if tries >= _TRIES and not done[name]
        ]
        return Figures(
            broker=self.system.deployment.broker,
            injected=dict(done),
            not_injected=dict(not_injected),
            mirrored=compare(self.system),
            runs={row["status"]: row["count"] for row in pg.rows("SELECT status, count(*) FROM runs GROUP BY 1")},
            chunks=pg.value("SELECT count(*) FROM run_chunks"),
            dead_letters={
                f"{task}: {why}": count for (task, why), count in Counter(self.system.dead_letters()).items()
            },
            answers=dict(self.answers),
            kills=injected.kills,
            miscounted=miscounted(self.system),
            seconds_to_recover=self._recoveries(),
            seconds_to_calm=calm,
            broken=[*left, *self._problems, *never, *answers, *broken(self.system, injected)],
        )

    def _api_starts_runs(self, deadline: float) -> bool:
        """Whether it reads its database and gets a message to its broker, once both are there again."""
        url = f"http://127.0.0.1:{self.system.api_port}"
        token = {"Authorization": f"Bearer {API_TOKEN}"}
        while time.monotonic() < deadline:
            with contextlib.suppress(requests.RequestException):
                read = requests.get(f"{url}/users?limit=5", timeout=_ANSWER_SECONDS)
                started = requests.post(
                    f"{url}/runs", json={"task": "sync_users"}, headers=token, timeout=_ANSWER_SECONDS
                )
                # A run that is skipped, since another one is open, needs no broker.
                if read.ok and started.ok and started.json()["status"] == "queued":
                    return True
            time.sleep(1)
        return False

    def _end_pauses(self) -> None:
        """What passes with time alone: users whom the source did not have, and what Redis keeps for dead workers."""
        pg = self.system.deployment.pg
        for noun in ("address", "card"):
            pg.rows(f"UPDATE users SET {noun}_due_at = now() WHERE {noun}_due_at > now()")
        if not self.system.is_rabbitmq:
            with self.system.redis() as client:
                for tag in client.zrange("unacked_index", 0, -1):
                    client.zadd("unacked_index", {tag: 0}, xx=True)

    def _recoveries(self) -> dict[str, list[float]]:
        """Seconds from a fault's end to the next chunk that was done, by the fault's name."""
        found: dict[str, list[float]] = {}
        for injection in self.injections:
            healed = injection.healed
            if not injection.is_done or healed is None:
                continue
            after = next((at for at in self._chunk_times if at > healed), None)
            if after is not None:
                found.setdefault(injection.fault.name(), []).append(round(after - healed, 1))
        return found


def decks(random: Random, broker: str) -> Iterator[type[Fault]]:
    """All faults that the broker knows in some order, and again in another one."""
    known = [fault for fault in ALL if broker in fault.brokers]
    while True:
        yield from random.sample(known, len(known))
