"""The rendered pods, run under Docker with exactly what their specifications say, on the subcharts' own servers."""

import json
import os
import re
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import docker
import pytest
import yaml
from kombu import Connection, Exchange, Queue

from tests.charts.cases import TOKEN, merged
from tests.charts.helm import Manifests, Object, Pod, render
from tests.charts.namespace import Namespace
from tests.charts.pods import RunningPod, Switch
from tests.charts.specification import in_bytes
from tests.conftest import PROJECT
from tests.deployment import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300, func_only=True)]

# The service's own queue.
JOBS_QUEUE = Queue(
    "synergyway", Exchange("synergyway", "topic"), "synergyway", queue_arguments={"x-queue-type": "quorum"}
)
# Characters that a shell, JSON, SQL, YAML and an address each read in their own way.
HARD = "p@ss:/w?r#d'\"\\ %$&<ü"
VALUES: Object = {
    "secrets": {"generate": False},
    "postgresql": {"auth": {"password": f"pg {HARD}"}},
    "rabbitmq": {"auth": {"password": f"mq {HARD}", "erlangCookie": "a-cookie-of-the-tests"}},
    "apiToken": {"value": TOKEN},
    "api": {"preStopSleepSeconds": 3},
    "config": {"USERS_PAGE_SIZE": 50},
}


@pytest.fixture(scope="session")
def image() -> Iterator[str]:
    """The image that is released: one that CHART_TEST_IMAGE names, or built from this tree."""
    given = os.environ.get("CHART_TEST_IMAGE")
    if given:
        yield given
        return
    name = f"synergyway-charts-{uuid4().hex[:8]}:test"
    command = ["docker", "build", "--quiet", "--target", "runtime", "--tag", name, str(PROJECT)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    yield name
    client = docker.from_env()
    client.images.remove(name, force=True)
    client.close()


class Release:
    """What ``helm install`` would have Kubernetes run."""

    def __init__(self, image: str, values: Object) -> None:
        self.image = image
        repository, _, tag = image.rpartition(":")
        self.values = merged(VALUES, {"image": {"repository": repository, "tag": tag}}, values)
        self.manifests = self.render()
        self.namespace = Namespace(self.manifests)
        self.pods: dict[str, RunningPod] = {}

    def render(self, **values: Any) -> Manifests:
        return render(merged(self.values, values), release="sw", namespace="synergyway")

    def pod(self, component: str) -> Pod:
        return self.manifests.pod(component)

    def migration(self) -> Pod:
        (pod,) = [pod for pod in self.manifests.pods() if pod.owner["kind"] == "Job"]
        return pod

    def start(self, component: str) -> RunningPod:
        """A pod that is ready."""
        self.pods[component] = pod = self.namespace.start(self.pod(component))
        pod.wait_ready()
        return pod

    def start_all(self) -> None:
        """Everything at once and in no order, as after ``helm install``: who needs something has to wait for it."""
        with ThreadPoolExecutor(8) as pool:
            roles = ["api", "worker", "beat", "dummyjson", "rabbitmq", "postgresql"]
            migration = pool.submit(self.namespace.start, self.migration())
            for started in [pool.submit(self.start, role) for role in roles]:
                started.result()
        assert migration.result().wait_end() == 0, migration.result().log()

    def sql(self, query: str) -> str:
        """The first value, asked by the role whose password is in the Secret."""
        command = 'PGPASSWORD=$POSTGRES_PASSWORD psql -h 127.0.0.1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" -Atc "$0"'
        return self.pods["postgresql"].exec("sh", "-c", command, query).strip()


@pytest.fixture(scope="module")
def release(image: str) -> Iterator[Release]:
    """The whole service, ready. The tests of this module follow each other on it."""
    release = Release(image, {})
    try:
        release.start_all()
        yield release
    finally:
        release.namespace.close()


@pytest.fixture(scope="module")
def services(release: Release) -> dict[str, Switch]:
    return {
        component: release.namespace.serve(f"sw-synergyway-{component}", release.image, release.pods[component])
        for component in ("api", "dummyjson")
    }


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as response:
        return json.load(response)


def test_everything_comes_up_ready_without_a_restart_whatever_starts_first(release: Release) -> None:
    for name, pod in release.pods.items():
        for probe in ("startup", "readiness", "liveness"):
            assert pod.passes(probe), f"{name}: {probe}"
    waited = release.pods["api"].init_logs["wait-for-schema"]
    assert "Traceback" not in waited


def test_containers_run_as_their_user_on_a_root_that_they_cannot_write(release: Release) -> None:
    for name in ("api", "worker", "beat", "dummyjson"):
        pod = release.pods[name]
        assert pod.exec("id", "-u").strip() == "10001"
        assert pod.main.exec_run(["sh", "-c", "touch /srv/synergyway/app/x"]).exit_code != 0
        assert pod.main.exec_run(["sh", "-c", "touch /x"]).exit_code != 0
        pod.exec("touch", "/tmp/x")
    for name in ("postgresql", "rabbitmq"):
        pod = release.pods[name]
        assert pod.exec("id", "-u").strip() == "999"
        assert pod.main.exec_run(["sh", "-c", "touch /usr/x"]).exit_code != 0
        assert pod.exec("sh", "-c", "grep -E '^Cap(Eff|Prm|Bnd)' /proc/1/status | sort -u -k2").split()[1] == "0" * 16


def test_a_task_called_from_a_shell_in_the_worker_ends_in_masked_cards(
    release: Release, services: dict[str, Switch]
) -> None:
    celery = ["celery", "-A", "app.celery_app.celery", "call"]
    release.pods["worker"].exec(*celery, "app.tasks.users.sync_users")
    eventually(lambda: release.sql("SELECT count(*) FROM users WHERE has_address AND has_card") == "208", 90)
    release.pods["worker"].exec(*celery, "app.tasks.addresses.enrich_missing_addresses", "--args", "[20]")
    eventually(
        lambda: release.sql("SELECT count(*) FROM runs WHERE trigger = 'cli' AND finished_at IS NOT NULL") == "2"
    )
    users = _get(f"{services['api'].url}/users?limit=100")
    assert len(users) == 100
    for user in users:
        assert re.fullmatch(r"\*{4} \*{4} \*{4} \d{4}", user["credit_card"]["number"])
        assert user["address"]["city"]


@pytest.mark.parametrize("name", ["journey", "refusals"])
def test_the_pods_of_helm_test_pass(release: Release, services: dict[str, Switch], name: str) -> None:
    (pod,) = [pod for pod in release.manifests.pods() if pod.owner["metadata"]["name"].endswith(f"test-{name}")]
    running = release.namespace.start(pod)
    assert running.wait_end(150) == 0, running.log()


def test_the_check_of_skaffold_verify_passes(release: Release, services: dict[str, Switch]) -> None:
    (check,) = yaml.safe_load((PROJECT / "skaffold.yaml").read_text())["verify"]
    container = check["container"]
    pod = Pod(
        {"kind": "Pod", "metadata": {"name": "verify"}, "spec": {}},
        {"labels": {}},
        {"containers": [{**container, "image": release.image}]},
    )
    running = release.namespace.start(pod)
    assert running.wait_end() == 0, running.log()
    assert "complete users, their cards masked" in running.log()


def test_no_password_and_no_card_number_is_in_a_log(release: Release) -> None:
    for name, pod in release.pods.items():
        said = pod.log() + "".join(pod.init_logs.values())
        assert HARD not in said, name
        assert TOKEN not in said, name
        assert not re.search(r"\b\d{13,19}\b", said), name


def test_a_stopped_worker_finishes_what_it_has_begun_and_repeats_nothing(release: Release) -> None:
    worker = release.pods["worker"]
    release.sql("DELETE FROM addresses")
    held = "BEGIN; LOCK TABLE addresses IN EXCLUSIVE MODE; SELECT pg_sleep(8); COMMIT"
    with ThreadPoolExecutor(1) as pool:
        lock = pool.submit(release.sql, held)
        eventually(
            lambda: release.sql(
                "SELECT count(*) FROM pg_locks WHERE mode = 'ExclusiveLock' AND relation = 'addresses'::regclass"
            )
            == "1"
        )
        task = "app.tasks.addresses.enrich_missing_addresses"
        worker.exec("celery", "-A", "app.celery_app.celery", "call", task, "--args", "[208]")
        eventually(lambda: release.sql("SELECT count(*) FROM runs WHERE status = 'running'") == "1")
        # In the middle of its work, which cannot end before the lock does.
        assert worker.stop() == {"worker": 0}
        lock.result()
    last = "SELECT status || ' ' || inserted FROM runs WHERE task = 'enrich_missing_addresses' ORDER BY id DESC LIMIT 1"
    assert release.sql(last) == "succeeded 208"
    assert release.sql("SELECT max(attempt) FROM run_chunks") == "1"
    worker = release.pods["worker"] = worker.start_again()
    worker.wait_ready()
    # Nothing was left that it would do again.
    eventually(lambda: release.sql("SELECT count(*) FROM runs WHERE finished_at IS NULL") == "0", 60)
    assert release.sql(last) == "succeeded 208"


def test_beat_ends_at_once_and_loses_no_schedule(release: Release) -> None:
    beat = release.pods["beat"]
    begun = time.monotonic()
    assert beat.stop() == {"beat": 0}
    assert time.monotonic() - begun < beat.pod.spec["terminationGracePeriodSeconds"]
    beat = release.pods["beat"] = beat.start_again()
    beat.wait_ready()


class Client(threading.Thread):
    """Asks without a pause, each time over a new connection or over one that is kept; notes what was not answered."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url, self.asked, self.failed = url, 0, []  # type: ignore[var-annotated]
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.is_set():
            self.asked += 1
            try:
                _get(f"{self.url}/users?limit=1")
            except OSError as error:
                self.failed.append(repr(error))

    def stop(self) -> None:
        self._stopped.set()
        self.join(20)


def test_a_rolling_update_of_the_api_loses_no_request(release: Release, services: dict[str, Switch]) -> None:
    """As a Deployment does it: the new pod first, and when it is ready, the old one; both have requests meanwhile."""
    switch, old = services["api"], release.pods["api"]
    clients = [Client(switch.url) for _ in range(3)]
    for client in clients:
        client.start()
    new = release.namespace.start(old.pod)
    new.wait_ready()
    switch.lead_to(old, new)
    time.sleep(1)
    # Kubernetes takes the old pod out of the Service and stops it at the same time: the pre-stop hook has to bridge
    # the time until everybody knows.
    stopping = threading.Thread(target=lambda: codes.append(old.stop()))
    codes: list[dict[str, int]] = []
    stopping.start()
    time.sleep(1.5)
    switch.lead_to(new)
    stopping.join(60)
    time.sleep(0.5)
    for client in clients:
        client.stop()
    release.pods["api"] = new
    assert codes == [{"api": 0}]
    assert sum(client.asked for client in clients) > 50
    assert [client.failed for client in clients] == [[], [], []]


def test_volumes_stay_within_the_sizes_that_would_evict_a_pod(release: Release) -> None:
    for pod in release.pods.values():
        for volume in pod.pod.spec.get("volumes", []):
            limit = volume.get("emptyDir", {}).get("sizeLimit")
            if not limit:
                continue
            mounts = [
                m["mountPath"] for m in pod.pod.spec["containers"][0]["volumeMounts"] if m["name"] == volume["name"]
            ]
            for path in mounts:
                used = pod.main.exec_run(["du", "-sxk", path]).output.decode().split()[0]
                assert int(used) * 1024 < in_bytes(limit) / 2, f"{pod.name}: {path} holds {used} KiB of {limit}"


def test_servers_that_are_killed_find_their_data_again_with_another_password(release: Release) -> None:
    """A rotation: what the Secret says counts at the next start, whatever the volume was made with."""
    users = release.sql("SELECT count(*) FROM users")
    changed = release.render(
        postgresql={"auth": {"password": f"new {HARD}"}}, rabbitmq={"auth": {"password": f"new {HARD}"}}
    )
    release.manifests = release.namespace.manifests = changed
    for name in ("postgresql", "rabbitmq"):
        release.pods[name].kill()
        release.pods[name].pod = changed.pod(name)
        release.pods[name] = release.pods[name].start_again()
    for name in ("postgresql", "rabbitmq"):
        release.pods[name].wait_ready()
    assert release.sql("SELECT count(*) FROM users") == users
    for name in ("api", "worker"):
        release.pods[name].pod = changed.pod(name)
        release.pods[name] = release.pods[name].start_again()
        release.pods[name].wait_ready()
    release.pods["worker"].exec("celery", "-A", "app.celery_app.celery", "call", "app.tasks.users.sync_users")
    eventually(
        lambda: release.sql("SELECT status FROM runs WHERE task = 'sync_users' ORDER BY id DESC LIMIT 1")
        == "succeeded",
        60,
    )


def test_a_database_that_is_ahead_is_left_alone_and_waited_for_no_longer(release: Release) -> None:
    """What a rollback, or a restart of an old pod in a rollout, meets."""
    revision = release.sql("SELECT version_num FROM alembic_version")
    release.sql("UPDATE alembic_version SET version_num = 'later'")
    try:
        migration = release.namespace.start(release.migration())
        assert migration.wait_end() == 0, migration.log()
        assert release.sql("SELECT version_num FROM alembic_version") == "later"
        release.namespace.start(release.manifests.pod("api")).wait_ready()
    finally:
        release.sql(f"UPDATE alembic_version SET version_num = '{revision}'")


def test_all_servers_end_cleanly(release: Release) -> None:
    for name in ("api", "worker", "beat", "dummyjson", "rabbitmq", "postgresql"):
        codes = release.pods[name].stop()
        # Uvicorn hands the signal on to itself when it is done: 143 is its clean end.
        assert set(codes.values()) <= {0, 143}, f"{name}: {codes}"


def test_rabbitmq_4_0_works_too(image: str) -> None:
    release = Release(image, {"rabbitmq": {"image": {"tag": "4.0-management"}}, "beat": {"enabled": False}})
    try:
        with ThreadPoolExecutor(4) as pool:
            migration = pool.submit(release.namespace.start, release.migration())
            for started in [pool.submit(release.start, name) for name in ("postgresql", "rabbitmq", "worker")]:
                started.result()
            assert migration.result().wait_end() == 0
        # The worker is alive before it has found the broker, and looks for it at growing intervals.
        ping = ("celery", "-A", "app.celery_app.celery", "inspect", "ping", "--timeout", "5")
        eventually(lambda: "pong" in release.pods["worker"].exec(*ping), 90)
    finally:
        release.namespace.close()


def test_three_broker_nodes_are_a_cluster_whose_queue_outlives_one(image: str) -> None:
    release = Release(image, {"rabbitmq": {"replicas": 3}})
    pod = release.pod("rabbitmq")
    names = [f"sw-rabbitmq-{number}" for number in range(3)]
    try:
        with ThreadPoolExecutor(3) as pool:
            nodes = dict(zip(names, pool.map(lambda name: release.namespace.start(pod, name), names), strict=True))
        for node in nodes.values():
            node.wait_ready(150)
        eventually(lambda: len(_running_nodes(nodes[names[2]])) == 3, 60)
        _publish(nodes[names[0]], release)
        # The leader of the queue is where it was declared.
        nodes[names[0]].kill()
        assert eventually(lambda: _consume(nodes[names[1]], release), 60) == "kept"
        again = release.namespace.start(pod, names[0])
        again.wait_ready(120)
        eventually(lambda: len(_running_nodes(again)) == 3, 60)
        # It waits until the queues can do without it, and ends in time.
        assert again.stop() == {"rabbitmq": 0}
    finally:
        release.namespace.close()


def _running_nodes(node: RunningPod) -> list[str]:
    return list(json.loads(node.exec("rabbitmqctl", "cluster_status", "--formatter", "json"))["running_nodes"])


def _connect(node: RunningPod, release: Release) -> Connection:
    auth = release.values["rabbitmq"]["auth"]
    return Connection(hostname=node.ip, userid="synergyway", password=auth["password"], virtual_host="/")


def _publish(node: RunningPod, release: Release) -> None:
    with _connect(node, release) as connection:
        connection.transport_options = {"confirm_publish": True}
        queue = JOBS_QUEUE(connection.channel())
        queue.declare()
        connection.Producer().publish("kept", exchange=queue.exchange, routing_key=queue.routing_key, retry=False)


def _consume(node: RunningPod, release: Release) -> str | None:
    with _connect(node, release) as connection:
        message = JOBS_QUEUE(connection.channel()).get(no_ack=True)
        return str(message.payload) if message else None
