"""A selection of the faults, done to the whole service while it works. ``make soak`` does all of them, for long."""

from pathlib import Path

import pytest

from tests.faults import faults
from tests.faults.engine import Engine
from tests.faults.faults import Fault
from tests.faults.system import open_system

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

ON_RABBITMQ = (
    faults.ChildKilledAsItAsks,
    faults.ChildKilledAsItIsAnswered,
    faults.ChildrenKilledAfterACommit,
    faults.WhoeverAsksIsKilled,
    faults.WorkersKilledBeforeTheirAcksArrive,
    faults.MessageForAnUnknownTask,
    faults.MessageOfGarbage,
    faults.MessageOfNoTask,
    faults.MessagePublishedTwice,
    faults.SourceTruncates,
    faults.DatabaseKilled,
    faults.BrokerShortOfMemory,
    faults.LinkToDatabaseSilent,
    faults.BeatKilled,
    faults.BrokerStopped,
)
ON_REDIS = (
    faults.WorkersKilledBeforeTheirAcksArrive,
    faults.BrokerKilled,
    faults.DatabaseConnectionsTerminated,
    faults.SourceThrottlesByDate,
    faults.LinkToBrokerSilent,
    faults.MessagePublishedTwice,
    faults.BrokerShortOfMemory,
    faults.WorkerToldToStop,
)


@pytest.mark.parametrize(("broker", "chosen"), [("rabbitmq", ON_RABBITMQ), ("redis", ON_REDIS)])
def test_whatever_is_done_to_the_service_nothing_is_lost_and_nothing_is_doubled(
    broker: str, chosen: tuple[type[Fault], ...], tmp_path: Path
) -> None:
    with open_system(broker, tmp_path, broker) as system:
        figures = Engine(system, broker).run(chosen, every_seconds=5)

    assert figures.broken == []
    assert sum(figures.injected.values()) == len(chosen)
    assert (figures.mirrored.lost, figures.mirrored.doubled) == (0, 0)
    assert figures.mirrored.rows > 3_000
    if broker == "rabbitmq":
        assert figures.dead_letters["app.tasks.users.no_such_task: rejected"] >= 1
        assert figures.dead_letters["no task at all: rejected"] >= 1
