"""Installs, upgrades, rollbacks and uninstalls one after another, by the oldest and the newest Helm."""

from base64 import b64encode
from collections.abc import Iterator

import pytest
import yaml

from tests.charts.cases import EXTERNAL, GIVEN, TOKEN, merged
from tests.charts.cluster import Cluster, unchangeable
from tests.charts.helm import Object, Refused, find_helm, render

HELMS = [name for name in ("oldest", "newest") if find_helm(name)] or ["helm"]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.close()


@pytest.fixture(params=HELMS)
def binary(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_an_upgrade_without_a_change_changes_nothing(cluster: Cluster, binary: str) -> None:
    cluster.install(binary=binary)
    before = cluster.all()
    cluster.upgrade(binary=binary)
    assert cluster.all() == before
    assert cluster.changes == []


def test_generated_passwords_are_long_differ_and_open_what_they_are_for(cluster: Cluster) -> None:
    cluster.install()
    database, broker = cluster.secret("sw-postgresql"), cluster.secret("sw-rabbitmq")
    secrets = [database["password"], broker["password"], broker["erlang-cookie"]]
    assert len(set(secrets)) == 3
    assert all(len(secret) >= 32 and secret.isalnum() for secret in secrets)
    assert database["uri"] == f"postgresql://synergyway:{database['password']}@sw-postgresql:5432/synergyway"
    assert broker["uri"] == f"amqp://synergyway:{broker['password']}@sw-rabbitmq:5672/%2F"


def test_what_helm_tells_of_a_release_has_its_passwords_in_secrets_alone(cluster: Cluster) -> None:
    token = {"apiToken": {"value": TOKEN}}
    printed = cluster.install(values=token) + cluster.upgrade(values=token)
    opened = {value for name in cluster.of("Secret") for value in cluster.secret(name).values()}
    secrets = {secret for secret in opened if len(secret) >= 16}
    assert len(secrets) >= 6

    told = printed + "".join(
        cluster.helm(*command, "sw") for command in (("status",), ("get", "notes"), ("get", "hooks"))
    )
    manifests = list(yaml.safe_load_all(cluster.helm("get", "manifest", "sw")))
    told += "".join(str(item) for item in manifests if item["kind"] != "Secret")

    assert "kubectl" in told
    assert "Deployment" in told
    for secret in secrets:
        assert secret not in told
        assert b64encode(secret.encode()).decode() not in told
    # What was given as a value is one; what was generated is none.
    assert [secret for secret in secrets if secret in cluster.helm("get", "values", "--all", "sw")] == [TOKEN]


def test_an_uninstall_leaves_the_passwords_which_a_reinstall_finds(cluster: Cluster, binary: str) -> None:
    cluster.install(binary=binary)
    before = {name: cluster.secret(name) for name in ("sw-postgresql", "sw-rabbitmq")}
    cluster.helm("uninstall", "sw", binary=binary)
    assert set(cluster.all()) == {"Secret/sw-postgresql", "Secret/sw-rabbitmq"}
    cluster.install(binary=binary)
    assert {name: cluster.secret(name) for name in before} == before


def test_a_changed_image_brings_a_migration_of_its_own_and_takes_the_old_one_away(cluster: Cluster) -> None:
    """A Job cannot be changed: the same name with another image would stop the upgrade."""
    cluster.install(values={"image": {"tag": "1"}})
    (first,) = cluster.of("Job")
    cluster.upgrade(values={"image": {"tag": "2"}})
    (second,) = cluster.of("Job")
    assert first != second
    cluster.helm("rollback", "sw", "1")
    assert set(cluster.of("Job")) == {first}


@pytest.mark.parametrize(
    "change",
    [
        {"migrations": {"resources": {"limits": {"memory": "300Mi"}}}},
        {"migrations": {"podAnnotations": {"a": "b"}}},
        {"commonLabels": {"a": "b"}},
        {"commonAnnotations": {"a": "b"}},
        {"config": {"LOG_LEVEL": "DEBUG"}},
        {"podSecurityContext": {"runAsUser": 10002}},
        {"image": {"pullSecrets": ["a"]}},
        {"image": {"digest": "sha256:" + "a" * 64}},
        {"migrations": {"extraEnv": [{"name": "A", "value": "b"}]}},
        {"migrations": {"backoffLimit": 3, "activeDeadlineSeconds": 60}},
        {"migrations": {"mode": "none"}},
        {"postgresql": {"auth": {"password": "another"}}},
        {"postgresql": {"resources": {"limits": {"memory": "2Gi"}}, "config": {"max_connections": 300}}},
        {"postgresql": {"image": {"tag": "17.5"}}},
        {"rabbitmq": {"image": {"tag": "4.3.1-management"}, "extraConfig": "channel_max = 64"}},
        {"rabbitmq": {"replicas": 3}},
        {"rabbitmq": {"podLabels": {"a": "b"}}},
        {"api": {"replicas": 3, "podLabels": {"a": "b"}}, "worker": {"concurrency": 4}},
        {"api": {"autoscaling": {"enabled": True}}},
        {"networkPolicy": {"enabled": True}, "ingress": {"enabled": True}, "flower": {"enabled": True}},
        {"dummyjson": {"users": 1000}},
        {"apiToken": {"value": TOKEN}},
    ],
    ids=str,
)
def test_any_value_can_be_changed_later(change: Object) -> None:
    """None of them changes what Kubernetes lets nobody change: a selector, a Job's pod, a claim's template."""
    before, after = render(GIVEN), render(merged(GIVEN, change))
    assert before != after
    for item in before:
        kind, name = item["kind"], item["metadata"]["name"]
        if name in after.names(kind):
            assert unchangeable(item) == unchangeable(after.get(kind, name)), f"{kind} {name}"


def test_no_label_that_moves_on_with_versions_stands_where_nothing_may_change() -> None:
    for item in render(GIVEN):
        text = str(unchangeable(item)) if item["kind"] != "Job" else ""
        assert "app.kubernetes.io/version" not in text
        assert "helm.sh/chart" not in text


def test_a_password_from_values_wins_over_the_kept_one(cluster: Cluster) -> None:
    cluster.install()
    values = {"postgresql": {"auth": {"password": "from values"}}}
    before = cluster.of("Deployment")["sw-synergyway-api"]
    cluster.upgrade(values=values)
    assert cluster.secret("sw-postgresql")["password"] == "from values"
    assert cluster.secret("sw-postgresql")["uri"].startswith("postgresql://synergyway:from%20values@")
    after = cluster.of("Deployment")["sw-synergyway-api"]
    assert before["spec"]["template"] != after["spec"]["template"]
    # And stays, when the next upgrade does not say it again.
    cluster.upgrade(values={"config": {"LOG_LEVEL": "DEBUG"}})
    assert cluster.secret("sw-postgresql")["password"] == "from values"


def test_a_second_release_in_the_same_namespace_shares_nothing(cluster: Cluster) -> None:
    cluster.install("one")
    first = set(cluster.all())
    cluster.install("two")
    cluster.helm("uninstall", "two")
    assert first <= set(cluster.all())
    assert {name for name in cluster.all() if name not in first} == {"Secret/two-postgresql", "Secret/two-rabbitmq"}


def test_existing_secrets_are_used_and_none_is_made(cluster: Cluster) -> None:
    values = {
        "secrets": {"generate": False},
        "postgresql": {"auth": {"existingSecret": "pg"}},
        "rabbitmq": {"auth": {"existingSecret": "mq"}},
    }
    cluster.install(values=values)
    assert not {"sw-postgresql", "sw-rabbitmq"} & set(cluster.of("Secret"))


def test_nothing_is_generated_where_that_is_forbidden(cluster: Cluster) -> None:
    with pytest.raises(Refused, match=r"secrets\.generate is false"):
        cluster.install(values={"secrets": {"generate": False}})
    assert cluster.all() == {}


def test_a_cluster_of_brokers_is_not_shrunk_by_accident(cluster: Cluster) -> None:
    cluster.install(values={"rabbitmq": {"replicas": 3}})
    for number in range(3):
        cluster.create("PersistentVolumeClaim", f"data-sw-rabbitmq-{number}")
    with pytest.raises(Refused, match="shows that this was a cluster"):
        cluster.upgrade(values={"rabbitmq": {"replicas": 1}})
    cluster.upgrade(values={"rabbitmq": {"replicas": 3}})


# The newest Helm follows the states of hooks in ways that this API server does not know.
def test_migrations_as_a_hook_run_before_anything_else_and_at_each_upgrade(cluster: Cluster) -> None:
    values = merged(EXTERNAL, {"migrations": {"mode": "hook"}})
    cluster.install(values=values, binary=HELMS[0])
    cluster.upgrade(values=values, binary=HELMS[0])
    cluster.upgrade(values=merged(values, {"image": {"tag": "2"}}), binary=HELMS[0])
    assert not [name for name in cluster.of("Job") if "migrate" in name and len(cluster.of("Job")) > 1]


def test_helm_test_runs_its_pods_and_can_run_them_again(cluster: Cluster) -> None:
    cluster.install(binary=HELMS[0])
    for _ in range(2):
        said = cluster.helm("test", "sw", binary=HELMS[0])
        assert said.count("Succeeded") == len(render().of("Pod")) > 1


def test_the_notes_say_what_to_do_next(cluster: Cluster) -> None:
    said = cluster.install()
    for command in (
        "kubectl -n synergyway get pods -l app.kubernetes.io/instance=sw",
        "port-forward service/sw-synergyway-api 8000:80",
        "exec deploy/sw-synergyway-worker -- celery -A app.celery_app.celery call app.tasks.users.sync_users",
        "helm -n synergyway test sw",
        "get secret sw-postgresql",
    ):
        assert command in said
    for secret in ("sw-postgresql", "sw-rabbitmq"):
        assert cluster.secret(secret)["password"] not in said


def test_the_notes_follow_the_values(cluster: Cluster) -> None:
    values = merged(
        EXTERNAL,
        {
            "ingress": {
                "enabled": True,
                "hosts": [{"host": "people.example.com", "paths": [{"path": "/", "pathType": "Prefix"}]}],
            },
            "worker": {"enabled": False},
            "tests": {"enabled": False},
            "migrations": {"mode": "none"},
            "flower": {"enabled": True},
        },
    )
    said = cluster.install(values=values)
    assert "http://people.example.com/users/ui" in said
    assert "python -m app migrate" in said
    assert "Flower asks for no password" in said
    assert "port-forward" not in said
    assert "celery call" not in said
    assert "p%40ss" not in said
