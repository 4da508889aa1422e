"""Some of the faults of a source again, on the database that the service is for, and for the other enrichment."""

from collections.abc import Callable

import pytest

from app.records import Job
from tests.conftest import LocalWorker
from tests.fake_source import DummyJsonLike, FakeSource
from tests.faults.provider import FAULTS, SETTINGS, USERS, Injection

SOME = ["429 with seconds", "500", "a connection that is reset in mid-body", "HTML", "a body that never ends"]


@pytest.mark.parametrize("job", [Job.SYNC_USERS, Job.ENRICH_MISSING_CARDS], ids=str)
@pytest.mark.parametrize("name", SOME)
def test_a_fault_in_mid_run_is_named_and_costs_no_page_that_was_done(
    make_worker: Callable[..., LocalWorker],
    source: FakeSource,
    sample: Callable[[int], DummyJsonLike],
    caplog: pytest.LogCaptureFixture,
    name: str,
    job: Job,
) -> None:
    injection = Injection(make_worker(**SETTINGS), source, sample(USERS), FAULTS[name], job)

    injection.is_hit(caplog)

    if FAULTS[name].passes:
        injection.waits()
        injection.goes_on()
    else:
        injection.ends()
