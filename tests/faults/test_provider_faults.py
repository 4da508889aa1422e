"""Whole jobs on a source that fails in the middle of them: bounded, with a reason, and nothing done before is lost."""

from collections.abc import Callable

import pytest

from app.records import Job
from tests.conftest import LocalWorker
from tests.fake_source import DummyJsonLike, FakeSource
from tests.faults.provider import FAULTS, SETTINGS, USERS, Fault, Injection

Sample = Callable[[int], DummyJsonLike]
MakeWorker = Callable[..., LocalWorker]

each_job = pytest.mark.parametrize("job", [Job.SYNC_USERS, Job.ENRICH_MISSING_ADDRESSES], ids=str)


def each_fault(*, passes: bool | None = None) -> pytest.MarkDecorator:
    wanted = {name: fault for name, fault in FAULTS.items() if passes in (None, fault.passes)}
    return pytest.mark.parametrize("fault", wanted.values(), ids=list(wanted))


@each_job
@each_fault()
def test_a_fault_in_mid_run_ends_the_last_attempt_with_its_reason_and_keeps_what_was_done(
    make_worker: MakeWorker,
    source: FakeSource,
    sample: Sample,
    caplog: pytest.LogCaptureFixture,
    job: Job,
    fault: Fault,
) -> None:
    injection = Injection(make_worker(**SETTINGS, CHUNK_MAX_ATTEMPTS=1), source, sample(USERS), fault, job)

    injection.is_hit(caplog)

    injection.ends()


@each_job
@each_fault(passes=True)
def test_a_fault_that_passes_costs_a_pause_and_no_page_that_was_done(
    make_worker: MakeWorker,
    source: FakeSource,
    sample: Sample,
    caplog: pytest.LogCaptureFixture,
    job: Job,
    fault: Fault,
) -> None:
    injection = Injection(make_worker(**SETTINGS), source, sample(USERS), fault, job)

    injection.is_hit(caplog)
    injection.waits()

    injection.goes_on()


@each_job
@each_fault(passes=False)
def test_a_fault_that_stays_is_not_tried_again(
    make_worker: MakeWorker,
    source: FakeSource,
    sample: Sample,
    caplog: pytest.LogCaptureFixture,
    job: Job,
    fault: Fault,
) -> None:
    worker = make_worker(**SETTINGS)
    injection = Injection(worker, source, sample(USERS), fault, job)

    injection.is_hit(caplog)

    injection.ends()
    assert worker.retries == []
