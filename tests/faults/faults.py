"""Everything that is done to the service: each fault is one class."""

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, ClassVar
from uuid import uuid4

from tests.deployment import eventually, management
from tests.fake_source import Answer, Query
from tests.faults.population import Trouble
from tests.faults.system import TASKS, System, Worker, database_is_up, rabbitmq_is_up, redis_is_up

_UP_SECONDS = 90
# How long a precise moment is waited for: there may be no work just then.
_MOMENT_SECONDS = 30


class NotInjected(Exception):
    """The moment for a fault has not come, or there was nothing to do it to."""


class Fault:
    """inject() does it, heal() takes it away again.

    part: what it is done to; two faults of one part never come at once. hold_seconds: how long it may last, from and
    to; 0 for what is over as soon as it is done. kills: processes that it kills, so that what they had not counted yet
    is lost; a database that dies may kill a commit's answer in each of the four processes. brokers: those it is for.
    needs: the parts that must be in order for it.
    """

    part: ClassVar[str]
    hold_seconds: ClassVar[tuple[float, float]] = (0, 0)
    kills: int = 0
    brokers: ClassVar[tuple[str, ...]] = ("rabbitmq", "redis")
    needs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, system: System) -> None:
        self.system = system

    @classmethod
    def name(cls) -> str:
        words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in cls.__name__)
        return words.strip()

    def inject(self) -> None:
        """Raises NotInjected when it has not come to it."""
        raise NotImplementedError

    def heal(self) -> None:
        pass

    def seconds(self) -> float:
        return self.system.random.uniform(*self.hold_seconds)


# Processes


class WorkerFault(Fault):
    part = "worker"

    def a_worker(self) -> Worker:
        return self.system.random.choice([worker for worker in self.system.workers if worker.role is not None])

    def kill_child(self, child: int | None) -> bool:
        """Whether there was one to kill."""
        with contextlib.suppress(ProcessLookupError):
            if child is not None:
                os.kill(child, signal.SIGKILL)
                return True
        return False

    def start_again(self) -> None:
        for worker in self.system.workers:
            if worker.role is None:
                self.system.start_worker(worker)


class ChildKilled(WorkerFault):
    kills = 1

    def inject(self) -> None:
        children = [child for worker in self.system.workers for child in worker.children()]
        if not self.kill_child(self.system.random.choice(children or [None])):
            raise NotInjected("no worker had a child")


class _ChildKilledByTheSource(WorkerFault):
    needs = ("database", "broker", "source")
    kills = 1
    hook: ClassVar[str]

    def inject(self) -> None:
        done: list[int] = []

        def kill(port: int) -> None:
            if not done and self.kill_child(self.system.child_of(port)):
                done.append(port)

        setattr(self.system.source, self.hook, kill)
        try:
            _wait_for(lambda: done)
        finally:
            setattr(self.system.source, self.hook, lambda port: None)


class ChildKilledAsItAsks(_ChildKilledByTheSource):
    """Its request has come, and is never answered."""

    hook = "when_asked"


class ChildKilledAsItIsAnswered(_ChildKilledByTheSource):
    """It has its answer, and has written nothing of it."""

    hook = "when_answered"


class WhoeverAsksIsKilled(WorkerFault):
    """Each message is poison to the process that works on it, again and again."""

    hold_seconds = (6, 12)
    needs = ("database", "broker", "source")

    def inject(self) -> None:
        lock = threading.Lock()

        def kill(port: int) -> None:
            if self.kill_child(self.system.child_of(port)):
                with lock:
                    self.kills += 1

        self.system.source.when_asked = kill
        _wait_for(lambda: self.kills)

    def heal(self) -> None:
        self.system.source.when_asked = lambda port: None


class ChildrenKilledAfterACommit(WorkerFault):
    """The database has committed a chunk's end, and the child that did it never hears of it."""

    needs = ("database", "broker", "source")
    kills = 4

    def inject(self) -> None:
        link = self.system.database_link
        link.back.delay_seconds = 0.2
        done = _chunks(self.system, "succeeded")
        try:
            _wait_for(lambda: _chunks(self.system, "succeeded") > done, 0.01)
            for worker in self.system.workers:
                for child in worker.children():
                    self.kill_child(child)
        finally:
            link.back.delay_seconds = 0


class WorkersKilledBeforeTheirAcksArrive(WorkerFault):
    """A chunk is done and noted as done, and the broker never hears of it."""

    hold_seconds = (2, 6)
    needs = ("database", "broker", "source")
    kills = 4

    def inject(self) -> None:
        link = self.system.broker_link
        deadline = time.monotonic() + _MOMENT_SECONDS
        try:
            while not self._silence_until_a_chunk_is_done():
                if time.monotonic() > deadline:
                    raise NotInjected("no chunk was done while the broker heard nothing")
            for worker in self.system.workers:
                self.system.kill_worker(worker)
            link.cut()
        finally:
            link.there.is_silent = False

    def _silence_until_a_chunk_is_done(self) -> bool:
        """Begins while one is in hand: a broker that hears nothing gets no new work either."""
        link = self.system.broker_link
        _wait_for(lambda: _chunks(self.system, "running"), 0.01)
        done = _chunks(self.system, "succeeded")
        link.there.is_silent = True
        with contextlib.suppress(NotInjected):
            _wait_for(lambda: _chunks(self.system, "succeeded") > done, 0.01, seconds=3)
            return True
        link.there.is_silent = False
        return False

    def heal(self) -> None:
        self.start_again()


class WorkerKilled(WorkerFault):
    """With all its processes, as when a machine is lost."""

    hold_seconds = (2, 10)
    kills = 2

    def inject(self) -> None:
        self.system.kill_worker(self.a_worker())

    def heal(self) -> None:
        self.start_again()


class WorkersParentKilled(WorkerFault):
    """Its children are left without a parent."""

    hold_seconds = (2, 10)
    kills = 2

    def inject(self) -> None:
        self.worker = self.a_worker()
        assert self.worker.role is not None
        self.worker.role.process.kill()

    def heal(self) -> None:
        self.system.kill_worker(self.worker)
        self.start_again()


class WorkerToldToStop(WorkerFault):
    """What it has begun it can finish only while it reaches its broker and its database."""

    needs = ("database", "broker")
    hold_seconds = (1, 5)

    def inject(self) -> None:
        self.system.stop_worker(self.a_worker())

    def heal(self) -> None:
        self.start_again()


class BeatKilled(Fault):
    part = "beat"
    hold_seconds = (1, 10)

    def inject(self) -> None:
        beats = self.system.beats
        self.place = self.system.random.randrange(len(beats))
        beats[self.place].kill()

    def heal(self) -> None:
        self.system.beats[self.place] = self.system.start_beat()


class BeatsDownOverATick(Fault):
    part = "beat"

    def seconds(self) -> float:
        return 62 - time.time() % 60

    def inject(self) -> None:
        for beat in self.system.beats:
            beat.kill()

    def heal(self) -> None:
        self.system.beats = [self.system.start_beat() for _ in self.system.beats]


# Servers


class _ServerFault(Fault):
    def docker(self) -> Any:
        server = self.system.database if self.part == "database" else self.system.broker
        return server.container.get_wrapped_container()

    def wait_until_up(self) -> None:
        if self.part == "database":
            eventually(lambda: database_is_up(self.system.database), _UP_SECONDS)
            return
        is_up = rabbitmq_is_up if self.system.is_rabbitmq else redis_is_up
        eventually(lambda: is_up(self.system.broker), _UP_SECONDS)


class _Down(_ServerFault):
    def heal(self) -> None:
        self.docker().start()
        self.wait_until_up()


class _Stopped(_Down):
    hold_seconds = (1, 8)

    def inject(self) -> None:
        self.docker().stop(timeout=20)


class _Killed(_Down):
    hold_seconds = (0, 3)

    def inject(self) -> None:
        self.docker().kill()


class _Paused(_ServerFault):
    hold_seconds = (3, 12)

    def inject(self) -> None:
        self.docker().pause()

    def heal(self) -> None:
        self.docker().unpause()
        self.wait_until_up()


class BrokerStopped(_Stopped):
    part = "broker"


class BrokerKilled(_Killed):
    part = "broker"


class BrokerPaused(_Paused):
    part = "broker"


class BrokerConnectionsClosed(Fault):
    part = "broker"

    def inject(self) -> None:
        system = self.system
        if not system.is_rabbitmq:
            with system.redis() as client:
                client.client_kill_filter(_type="normal", skipme=True)
            return
        for connection in json.loads(management(system.broker, "GET", "connections")):
            with contextlib.suppress(OSError):
                management(system.broker, "DELETE", f"connections/{connection['name'].replace(' ', '%20')}")


class BrokerShortOfMemory(_ServerFault):
    """RabbitMQ lets publishers wait, Redis refuses whatever needs memory."""

    part = "broker"
    hold_seconds = (3, 12)

    def inject(self) -> None:
        self._set(rabbitmq="0", redis=1)

    def heal(self) -> None:
        self._set(rabbitmq="0.6", redis=0)

    def _set(self, rabbitmq: str, redis: int) -> None:
        if not self.system.is_rabbitmq:
            with self.system.redis() as client:
                client.config_set("maxmemory", redis)
            return
        code, output = self.docker().exec_run(["rabbitmqctl", "set_vm_memory_high_watermark", rabbitmq])
        assert code == 0, output


class QueuesPurged(Fault):
    part = "broker"

    def inject(self) -> None:
        self.system.purge()


class DatabaseStopped(_Stopped):
    part = "database"
    kills = 4


class DatabaseKilled(_Killed):
    part = "database"
    kills = 4


class DatabasePaused(_Paused):
    part = "database"
    kills = 4


class DatabaseConnectionsTerminated(Fault):
    part = "database"
    kills = 4

    def inject(self) -> None:
        self.system.deployment.pg.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'synergyway'"
        )


# Links


class _LinkFault(Fault):
    @property
    def link(self) -> Any:
        return self.system.database_link if self.part == "database" else self.system.broker_link

    def heal(self) -> None:
        self.link.restore()


class _LinkCut(_LinkFault):
    def inject(self) -> None:
        self.link.cut()


class _LinkRefused(_LinkFault):
    hold_seconds = (1, 10)

    def inject(self) -> None:
        self.link.refuse()


class _LinkSilent(_LinkFault):
    """What was held back arrives in the end, or never."""

    hold_seconds = (3, 15)

    def inject(self) -> None:
        self.link.silence()

    def heal(self) -> None:
        if self.system.random.random() < 0.5:
            self.link.cut()
        self.link.restore()


class _LinkSlow(_LinkFault):
    hold_seconds = (5, 15)

    def inject(self) -> None:
        self.link.slow_down(self.system.random.uniform(0.02, 0.2), bytes_per_second=50_000)


class LinkToDatabaseCut(_LinkCut):
    part = "database"
    kills = 4


class LinkToDatabaseRefused(_LinkRefused):
    part = "database"
    kills = 4


class LinkToDatabaseSilent(_LinkSilent):
    part = "database"
    kills = 4


class LinkToDatabaseSlow(_LinkSlow):
    part = "database"


class LinkToBrokerCut(_LinkCut):
    part = "broker"


class LinkToBrokerRefused(_LinkRefused):
    part = "broker"


class LinkToBrokerSilent(_LinkSilent):
    part = "broker"


class LinkToBrokerSlow(_LinkSlow):
    part = "broker"


# The source


class SourceFault(Fault):
    part = "source"
    hold_seconds = (2, 8)

    def inject(self) -> None:
        self.system.population.trouble = self.trouble()

    def heal(self) -> None:
        self.system.population.trouble = None

    def trouble(self) -> Trouble:
        raise NotImplementedError


class SourceThrottlesBySeconds(SourceFault):
    def trouble(self) -> Trouble:
        return lambda path, query, answer: Answer(b"slower", status=429, headers={"Retry-After": "3"})


class SourceThrottlesByDate(SourceFault):
    def trouble(self) -> Trouble:
        def refuse(path: str, query: Query, answer: Answer) -> Answer:
            date = format_datetime(datetime.now(UTC) + timedelta(seconds=3), usegmt=True)
            return Answer(b"slower", status=429, headers={"Retry-After": date})

        return refuse


class SourceFails(SourceFault):
    def trouble(self) -> Trouble:
        return lambda path, query, answer: Answer(b"it broke", status=500, content_type="text/plain")


class SourceHangs(SourceFault):
    def trouble(self) -> Trouble:
        return lambda path, query, answer: Answer(answer.body, wait_seconds=5)


class SourceTruncates(SourceFault):
    """Half of the JSON, said to be all of it."""

    def trouble(self) -> Trouble:
        def truncate(path: str, query: Query, answer: Answer) -> Answer:
            content = answer.content()
            return Answer(content[: len(content) // 2])

        return truncate


class SourceRepeatsAPage(SourceFault):
    def trouble(self) -> Trouble:
        population = self.system.population
        return lambda path, query, answer: (
            population.usual(path, query | {"skip": "0"}) if path == "/users" and "skip" in query else None
        )


class SourceHasNothing(SourceFault):
    """404 for whatever is asked."""

    def trouble(self) -> Trouble:
        return lambda path, query, answer: Answer({"message": "not found"}, status=404)


# Messages


class MessageForAnUnknownTask(Fault):
    part = "messages"
    needs = ("broker",)

    def inject(self) -> None:
        self.system.publish_task("app.tasks.users.no_such_task", uuid4().hex)


class MessageOfGarbage(Fault):
    """Its body is no text: Celery logs it and takes it from the queue."""

    part = "messages"
    needs = ("broker",)

    def inject(self) -> None:
        self.system.publish(b'{"what": \xff\xfe this is', content_type="application/json")


class MessageOfNoTask(Fault):
    part = "messages"
    needs = ("broker",)

    def inject(self) -> None:
        self.system.publish(b'{"what": "is this"}', content_type="application/json")


class MessagePublishedTwice(Fault):
    """Two copies of one message, and one of an open chunk's that is on its way or being worked on."""

    part = "messages"
    needs = ("database", "broker")

    def inject(self) -> None:
        task = self.system.random.choice([*TASKS])
        message_id = uuid4().hex
        for _ in range(2):
            self.system.publish_task(TASKS[task], message_id)
        chunks = self.system.deployment.pg.rows(
            "SELECT c.id, r.task FROM run_chunks c JOIN runs r ON r.id = c.run_id ORDER BY c.id DESC LIMIT 5"
        )
        for chunk in chunks:
            self.system.publish_task(TASKS[chunk["task"]], uuid4().hex, chunk_id=chunk["id"])


def _chunks(system: System, status: str) -> int:
    return int(system.deployment.pg.value("SELECT count(*) FROM run_chunks WHERE status = %s", status))


def _wait_for(holds: Callable[[], Any], every_seconds: float = 0.02, seconds: float = _MOMENT_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise NotInjected(f"the moment did not come within {seconds} s")
        time.sleep(every_seconds)


def _leaves(base: type[Fault]) -> list[type[Fault]]:
    below = base.__subclasses__()
    return [base] if not below else [leaf for each in below for leaf in _leaves(each)]


ALL: tuple[type[Fault], ...] = tuple(_leaves(Fault))
