"""Whole jobs on a source that fails in the middle of them: bounded, with a reason, and nothing done before is lost."""

import gzip
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from app.errors import ProviderError, ProviderUnavailable
from app.records import Job
from app.sample_provider import user as sample_user
from tests.certificates import certificate
from tests.conftest import PROJECT, LocalWorker
from tests.fake_source import Answer, DummyJsonLike, FakeSource, Query
from tests.faults.provider import FAULTS, SETTINGS, USERS, Fault, Injection

Sample = Callable[[int], DummyJsonLike]
MakeWorker = Callable[..., LocalWorker]

each_job = pytest.mark.parametrize("job", [Job.SYNC_USERS, Job.ENRICH_MISSING_ADDRESSES], ids=str)


def each_fault(*, passes: bool) -> pytest.MarkDecorator:
    wanted = {name: fault for name, fault in FAULTS.items() if fault.passes == passes}
    return pytest.mark.parametrize("fault", wanted.values(), ids=list(wanted))


@each_job
@each_fault(passes=True)
def test_a_fault_that_outlasts_the_attempts_fails_the_run_with_its_reason_and_keeps_what_was_done(
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
def test_a_fault_that_does_not_pass_is_not_tried_again_and_keeps_what_was_done(
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


# Redirects and TLS


@pytest.fixture
def other_host() -> Iterator[FakeSource]:
    source = FakeSource()
    yield source
    source.close()


def test_a_redirect_to_another_host_is_followed_and_takes_no_credentials_there(
    make_worker: MakeWorker, source: FakeSource, other_host: FakeSource, sample: Sample
) -> None:
    other_host.respond = sample(3)

    def elsewhere(path: str, query: Query) -> Answer:
        asked = "&".join(f"{name}={value}" for name, value in query.items())
        return Answer(status=307, headers={"Location": f"{other_host.base_url}{path}?{asked}"})

    source.respond = elsewhere
    worker = make_worker(USERS_API_URL=source.url.replace("http://", "http://reader:hunter2@"))

    worker.call(Job.SYNC_USERS)

    assert worker.rows("SELECT count(*) AS n FROM users") == [{"n": 3}]
    assert "Authorization" in source.headers[0]
    assert other_host.headers
    assert all("Authorization" not in headers for headers in other_host.headers)


@pytest.fixture
def https_source(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeSource]:
    """A source at an https address. The parameter: what is wrong with its certificate."""
    wrong: dict[str, Any] = {"other host": {"host": "DNS:other.example"}, "expired": {"expired": True}}
    made = certificate(tmp_path, "source", **wrong.get(request.param, {}))
    if request.param != "unknown":
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(made.file))
    source = FakeSource(made.server())
    yield source
    source.close()


@pytest.mark.parametrize("https_source", ["nothing"], indirect=True)
def test_a_source_with_a_trusted_certificate_is_read(
    make_worker: MakeWorker, https_source: FakeSource, sample: Sample
) -> None:
    https_source.respond = sample(3)
    url = https_source.url
    worker = make_worker(USERS_API_URL=url, ADDRESS_API_URL=url, CREDIT_CARD_API_URL=url)

    worker.call(Job.SYNC_USERS)

    assert worker.rows("SELECT count(*) AS n FROM users WHERE has_address AND has_card") == [{"n": 3}]


@pytest.mark.parametrize(
    ("https_source", "reason"),
    [
        ("unknown", "self-signed certificate"),
        ("other host", "certificate is not valid for '127.0.0.1'"),
        ("expired", "certificate has expired"),
    ],
    indirect=["https_source"],
)
def test_a_certificate_that_proves_nothing_fails_the_run_and_says_why(
    make_worker: MakeWorker, https_source: FakeSource, sample: Sample, reason: str
) -> None:
    https_source.respond = sample(3)
    worker = make_worker(USERS_API_URL=https_source.url)

    with pytest.raises(ProviderError):
        worker.call(Job.SYNC_USERS)

    (run,) = worker.rows("SELECT status, error_class, error_message FROM runs")
    assert (run["status"], run["error_class"]) == ("failed", "ProviderError")
    assert run["error_message"].startswith(f"{https_source.url} cannot be read: SSLCertVerificationError")
    assert reason in run["error_message"]
    assert https_source.requests == []
    assert worker.retries == []


@pytest.mark.parametrize("https_source", ["nothing"], indirect=True)
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_tls_that_is_cut_in_mid_body_costs_a_pause(
    make_worker: MakeWorker, https_source: FakeSource, sample: Sample, reset: bool
) -> None:
    users = sample(30)

    def cut_off_the_second_page(path: str, query: Query) -> Answer:
        answer = users(path, query)
        if query.get("skip") == "10":
            content = answer.content()
            return Answer(content[:1000], declared_length=len(content), reset=reset)
        return answer

    https_source.respond = cut_off_the_second_page
    worker = make_worker(USERS_API_URL=https_source.url, USERS_PAGE_SIZE=10)

    worker.call(Job.SYNC_USERS)

    assert worker.rows("SELECT count(*) AS n FROM users") == [{"n": 10}]
    (retry,) = worker.retries
    assert isinstance(retry.error, ProviderUnavailable)
    assert f"{https_source.url} is out of reach: " in str(retry.error)


# Pages and totals that do not agree


def lying(users: DummyJsonLike, total: Callable[[int], Any]) -> Callable[[str, Query], Answer]:
    """total: what the source says that it has, given how many users it has left out."""

    def lie(path: str, query: Query) -> Answer:
        answer = users(path, query)
        if isinstance(answer.body, dict) and "total" in answer.body:
            answer.body["total"] = total(int(query.get("skip", 0)))
        return answer

    return lie


@pytest.mark.parametrize(
    "total",
    [
        pytest.param(lambda skip: 0, id="none"),
        pytest.param(lambda skip: 15, id="too small"),
        pytest.param(lambda skip: 400, id="too large"),
        pytest.param(lambda skip: skip, id="always here"),
        pytest.param(lambda skip: skip + 100, id="always far away"),
        pytest.param(lambda skip: 100 - skip, id="falling"),
        pytest.param(lambda skip: None if skip else 50, id="forgotten"),
    ],
)
def test_a_total_that_lies_loses_nobody_and_removes_nobody(
    make_worker: MakeWorker, source: FakeSource, sample: Sample, total: Callable[[int], Any]
) -> None:
    users = sample(USERS)
    worker = make_worker(USERS_PAGE_SIZE=10, CHUNK_ROWS=20)
    source.respond = users
    worker.call(Job.SYNC_USERS)
    source.respond = lying(users, total)
    source.requests.clear()
    users.users[USERS + 1] = sample_user(USERS + 1)
    del users.users[USERS]

    worker.call(Job.SYNC_USERS)

    (run,) = worker.rows("SELECT status, inserted FROM runs WHERE task = 'sync_users' ORDER BY id DESC LIMIT 1")
    assert (run["status"], run["inserted"]) == ("succeeded", 1)
    assert worker.rows("SELECT count(*) AS n FROM users WHERE removed_at IS NOT NULL") == [{"n": 0}]
    assert len(source.requests) < 60


@pytest.mark.parametrize("total", [-1, "many", 2**63], ids=str)
def test_a_total_that_turns_into_nonsense_fails_the_run_and_keeps_the_pages_before(
    make_worker: MakeWorker, source: FakeSource, sample: Sample, total: Any
) -> None:
    source.respond = lying(sample(USERS), lambda skip: total if skip == 20 else USERS)
    worker = make_worker(USERS_PAGE_SIZE=10)

    with pytest.raises(ProviderError, match="no list of users with a total"):
        worker.call(Job.SYNC_USERS)

    assert worker.rows("SELECT count(*) AS n FROM users") == [{"n": 20}]


def test_the_largest_total_that_there_is_costs_a_request_a_chunk(
    make_worker: MakeWorker, source: FakeSource, sample: Sample
) -> None:
    source.respond = lying(sample(15), lambda skip: 2**63 - 1)
    worker = make_worker(USERS_PAGE_SIZE=10)

    worker.call(Job.SYNC_USERS)

    (run,) = worker.rows("SELECT status, inserted FROM runs WHERE task = 'sync_users'")
    assert (run["status"], run["inserted"]) == ("succeeded", 15)
    assert len([path for path, query in source.requests if "firstName" in query.get("select", "")]) <= 1_002


def test_a_page_that_comes_again_in_mid_run_ends_it_and_keeps_the_pages_before(
    make_worker: MakeWorker, source: FakeSource, sample: Sample
) -> None:
    users = sample(USERS)
    source.respond = lambda path, query: users(path, {**query, "skip": str(min(int(query.get("skip", 0)), 20))})
    worker = make_worker(USERS_PAGE_SIZE=10)

    with pytest.raises(ProviderError, match="the same page again and again"):
        worker.call(Job.SYNC_USERS)

    assert worker.rows("SELECT count(*) AS n FROM users") == [{"n": 30}]
    assert len(source.requests) < 20


@pytest.mark.parametrize(
    ("seed", "status", "error"),
    [
        (3, "succeeded", None),
        # The first user comes again: that looks like a source that ignores paging, as it well may be.
        (1, "failed", "the source sends the same page again and again: it ignores paging; check USERS_API_URL"),
    ],
    ids=["all pages", "the first user again"],
)
def test_users_whose_order_changes_with_each_request_are_no_duplicates_and_nobody_is_removed(
    make_worker: MakeWorker, source: FakeSource, sample: Sample, seed: int, status: str, error: str | None
) -> None:
    worker = make_worker(USERS_PAGE_SIZE=10)
    users = sample(USERS)
    source.respond = users
    worker.call(Job.SYNC_USERS)
    everybody = "SELECT * FROM users WHERE external_id NOT IN (7, :new) ORDER BY id".replace(":new", str(USERS + 1))
    before = worker.rows(everybody)
    shuffle, order, read = random.Random(seed).shuffle, [*users.users, USERS + 1], set[int]()
    users.users[USERS + 1] = sample_user(USERS + 1)
    users.users[7]["firstName"] = "Renamed"

    def shuffled(path: str, query: Query) -> Answer:
        if "firstName" not in query.get("select", ""):
            return users(path, query)
        shuffle(order)
        page = order[int(query["skip"]) :][: int(query["limit"])]
        read.update(page)
        return Answer({"users": [users.users[number] for number in page], "total": len(order)})

    source.respond = shuffled

    with pytest.raises(ProviderError) if error else nullcontext():
        worker.call(Job.SYNC_USERS)

    (run,) = worker.rows("SELECT * FROM runs WHERE task = 'sync_users' ORDER BY id DESC LIMIT 1")
    assert (run["status"], run["error_message"]) == (status, error)
    # What was read is written, each change once, although others came twice and others never.
    assert 10 < len(read) < len(order)
    assert {7, USERS + 1} < read
    assert (run["inserted"], run["updated"], run["removed"]) == (1, 1, 0)
    assert run["unchanged"] > 10
    assert worker.rows(everybody) == before
    assert worker.rows("SELECT name FROM users WHERE external_id = 7") == [
        {"name": f"Renamed {users.users[7]['lastName']}"}
    ]
    assert worker.rows("SELECT count(*) AS n, count(removed_at) AS removed FROM users") == [
        {"n": USERS + 1, "removed": 0}
    ]


# Memory

# VmHWM is the most that this program had; getrusage would tell what the process was before it became this program.
_MEASURED = """
import json, re, sys
from pathlib import Path
from app.celery_app import celery

def kilobytes(name):
    return int(re.search(name + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

celery.loader.import_default_modules()
before = kilobytes("VmRSS")
ended = celery.tasks[sys.argv[1]].apply()
grown = (kilobytes("VmHWM") - before) * 1024
print(json.dumps({"state": ended.state, "error": str(ended.result), "bytes": grown}))
"""
_MOST_BYTES = 20_000_000
# A gigabyte, in members of which each is quickly made.
_ZEROS = gzip.compress(b" " * 10_000_000) * 100


def endless() -> Iterator[bytes]:
    yield b'{"users": ['
    while True:
        yield b'"' + b"x" * 1_000_000 + b'",'


def packed(times: int) -> Answer:
    """A gigabyte of spaces, so often packed."""
    content = _ZEROS
    for _ in range(times - 1):
        content = gzip.compress(content)
    return Answer(content, headers={"Content-Encoding": ", ".join(["gzip"] * times)})


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda: Answer(endless()), id="a body that never ends"),
        pytest.param(lambda: Answer(endless(), declared_length=10**12), id="a body of a terabyte, as it says"),
        pytest.param(lambda: packed(1), id="a gigabyte in a megabyte"),
        pytest.param(lambda: packed(2), id="a gigabyte in some kilobytes"),
    ],
)
@pytest.mark.parametrize("task", ["users.sync_users", "addresses.enrich_missing_addresses"])
def test_a_body_of_any_size_takes_little_memory(
    database_url: str, worker: LocalWorker, source: FakeSource, sample: Sample, answer: Callable[[], Answer], task: str
) -> None:
    source.respond = sample(1)
    worker.call(Job.SYNC_USERS)
    worker.execute("DELETE FROM addresses")
    users = sample(1)
    source.respond = lambda path, query: users(path, query) if query.get("limit") == "1" else answer()
    environment = {
        "DATABASE_URL": database_url,
        "USERS_API_URL": source.url,
        "ADDRESS_API_URL": source.url,
        "CREDIT_CARD_API_URL": source.url,
        "CELERY_BROKER_URL": "filesystem://",
        "CELERY_RESULT_BACKEND": "disabled://",
        "FILESYSTEM_BROKER_DIR": str(PROJECT / "no-such-folder"),
        "PROVIDER_MAX_BODY_BYTES": str(_MOST_BYTES),
    }
    command = [sys.executable, "-c", _MEASURED, f"app.tasks.{task}"]

    ended = subprocess.run(
        command, cwd=PROJECT, env=os.environ | environment, check=True, capture_output=True, text=True, timeout=60
    )

    told = json.loads(ended.stdout.splitlines()[-1])
    assert told["state"] == "FAILURE"
    assert f"more than {_MOST_BYTES} bytes" in told["error"]
    assert told["bytes"] < 4 * _MOST_BYTES
