"""Values that cannot work are refused before anything is installed, with a sentence that says what to do."""

import json
import re
from functools import cache

import pytest

from tests.charts.cases import EXTERNAL, GIVEN, SOURCES, TOKEN, merged
from tests.charts.helm import CHART, Object, Refused, render

_DATABASE = {"postgresql": {"enabled": False}}
_BROKER = {"rabbitmq": {"enabled": False}}


def _database(**given: object) -> Object:
    return {**_DATABASE, "externalDatabase": given}


def _broker(**given: object) -> Object:
    return {**_BROKER, "externalBroker": given}


_PARTS = {"host": "db.example.com", "username": "service", "password": "secret"}

# What is said of the values: a part of the sentence.
CASES: list[tuple[str, Object]] = [
    # Where the database is
    ("externalDatabase names another database", {"externalDatabase": {"host": "db.example.com"}}),
    ("There is no database", _DATABASE),
    ("externalDatabase.url is the whole address", _database(url="postgresql://a:b@c/d", host="c")),
    ("externalDatabase.url must start with postgresql://", _database(url="mysql://a:b@c/d")),
    ("externalDatabase has both a password and an existingSecret", _database(**_PARTS, existingSecret="a")),
    ("externalDatabase.existingSecret is a, but no key", _database(existingSecret="a", existingSecretKeys={"uri": ""})),
    (
        "externalDatabase.existingSecretKeys names parts of an address and no password",
        _database(existingSecret="a", existingSecretKeys={"host": "host"}),
    ),
    ("externalDatabase.host is set, and so is an existingSecret", _database(existingSecret="a", host="b")),
    (
        "externalDatabase.existingSecret holds parts, and host or username is missing",
        _database(existingSecret="a", existingSecretKeys={"password": "password"}),
    ),
    ("externalDatabase.username is empty", _database(host="db.example.com")),
    (
        "externalDatabase.sslRootCert names both",
        _database(**_PARTS, sslmode="verify-full", sslRootCert={"secretName": "a", "configMapName": "b"}),
    ),
    ("there are no authorities to check", _database(**_PARTS, sslmode="verify-full")),
    ("so that nothing would be checked", _database(**_PARTS, sslRootCert={"secretName": "a"})),
    (
        "externalDatabase.url says otherwise",
        _database(url="postgresql://a:b@c/d?sslmode=disable", sslmode="require"),
    ),
    # Where the broker is
    ("externalBroker names another broker", {"externalBroker": {"host": "mq.example.com"}}),
    ("There is no broker", _BROKER),
    ("externalBroker.url is the whole address", _broker(url="amqp://a:b@c//", host="c")),
    ("externalBroker.url must start with amqp://", _broker(url="sqs://a:b@c")),
    (
        "externalBroker has both a password and an existingSecret",
        _broker(host="a", password="b", existingSecret="c"),
    ),
    ("externalBroker.existingSecret is a, but no key", _broker(existingSecret="a", existingSecretKeys={"uri": ""})),
    (
        "externalBroker.existingSecretKeys names parts of an address and no password",
        _broker(existingSecret="a", existingSecretKeys={"host": "host"}),
    ),
    ("externalBroker.host is set, and so is an existingSecret", _broker(existingSecret="a", host="b")),
    (
        "externalBroker.existingSecret holds parts, and the user is missing",
        _broker(existingSecret="a", host="b", existingSecretKeys={"password": "password"}),
    ),
    ("externalBroker.username is empty", _broker(host="mq.example.com")),
    (
        "externalBroker.existingSecret holds parts, and the host is missing",
        _broker(existingSecret="a", existingSecretKeys={"password": "password"}),
    ),
    # Secrets
    ("secrets.generate is false, and postgresql.auth.password is not given", {"secrets": {"generate": False}}),
    ("secrets.generate is false, and rabbitmq.auth.erlangCookie is not given", {"secrets": {"generate": False}}),
    (
        "postgresql.auth has both password and existingSecret",
        merged(GIVEN, {"postgresql": {"auth": {"existingSecret": "a"}}}),
    ),
    ("apiToken has both", {"apiToken": {"value": TOKEN, "existingSecret": "b"}}),
    ("flower.basicAuth has both", {"flower": {"basicAuth": {"value": "a:b", "existingSecret": "b"}}}),
    ("config.READ_TOKEN_REQUIRED is true, and there is no token", {"config": {"READ_TOKEN_REQUIRED": True}}),
    # Migrations
    ("migrations.mode is hook with the bundled PostgreSQL", {"migrations": {"mode": "hook"}}),
    # Times
    ("api.terminationGracePeriodSeconds is 30", {"api": {"terminationGracePeriodSeconds": 30}}),
    ("worker.terminationGracePeriodSeconds is 300", {"worker": {"terminationGracePeriodSeconds": 300}}),
    ("worker.terminationGracePeriodSeconds is 330", {"config": {"TASK_TIME_LIMIT_SECONDS": 301}}),
    (
        "it must be less than rabbitmq.consumerTimeoutSeconds",
        {"rabbitmq": {"consumerTimeoutSeconds": 300}},
    ),
    ("they must grow in this order", {"config": {"TASK_SOFT_TIME_LIMIT_SECONDS": 300}}),
    ("config.CHUNK_LEASE_SECONDS is 30", {"config": {"CHUNK_LEASE_SECONDS": 30}}),
    ("four times these two (92)", {"config": {"PROVIDER_TIMEOUT_SECONDS": 20}}),
    # Settings
    *(
        (f"config.{name} is empty", {"dummyjson": {"enabled": False}, "config": {**SOURCES, name: ""}})
        for name in SOURCES
    ),
    ("config.METRICS_PORT is 8000", {"config": {"METRICS_PORT": 8000}}),
    ("and worker can write to /tmp alone", {"config": {"HEARTBEAT_FILE": "/run/heart"}}),
    (
        "config.METRICS_PORT is 0, which means no metrics",
        {"config": {"METRICS_PORT": 0}, "monitoring": {"podMonitor": {"enabled": True}}},
    ),
    (
        "config.METRICS_PORT is 0, which means no metrics",
        {"config": {"METRICS_PORT": 0}, "monitoring": {"rules": {"enabled": True}}},
    ),
    # Replicas
    (
        "worker.autoscaling and worker.keda are both enabled",
        {"worker": {"autoscaling": {"enabled": True}, "keda": {"enabled": True}}},
    ),
    (
        "worker.keda.minReplicas is more than maxReplicas",
        {"worker": {"keda": {"enabled": True, "minReplicas": 9, "maxReplicas": 3}}},
    ),
    (
        "the broker is Redis",
        merged(_broker(url="redis://a/0"), {"worker": {"keda": {"enabled": True, "existingSecret": "a"}}}),
    ),
    (
        "worker.keda needs the address of RabbitMQ's management API",
        merged(_broker(url="amqp://a:b@c//"), {"worker": {"keda": {"enabled": True}}}),
    ),
    (
        "api.autoscaling.minReplicas is more than maxReplicas",
        {"api": {"autoscaling": {"enabled": True, "minReplicas": 11}}},
    ),
    (
        "api.autoscaling has nothing to go by",
        {"api": {"autoscaling": {"enabled": True, "targetCPUUtilizationPercentage": None}}},
    ),
    (
        "worker.autoscaling goes by cpu",
        {"worker": {"autoscaling": {"enabled": True}, "resources": {"requests": {"cpu": None}}}},
    ),
    ("api.pdb.maxUnavailable is 0", {"api": {"pdb": {"maxUnavailable": 0}}}),
    ("worker.pdb.maxUnavailable is 0%", {"worker": {"pdb": {"maxUnavailable": "0%"}}}),
    ("api.pdb.minAvailable is 1 of 1", {"api": {"pdb": {"minAvailable": 1}}}),
    ("api.pdb.minAvailable is 100%", {"api": {"replicas": 3, "pdb": {"minAvailable": "100%"}}}),
    (
        "api.pdb.minAvailable is 2 of 2",
        {"api": {"autoscaling": {"enabled": True}, "replicas": 5, "pdb": {"minAvailable": 2}}},
    ),
    ("rabbitmq.replicas is 2", {"rabbitmq": {"replicas": 2}}),
    (
        "rabbitmq.replicas is 3 without persistence",
        {"rabbitmq": {"replicas": 3, "persistence": {"enabled": False}}},
    ),
    # The edge
    (
        "ingress.enabled and httpRoute.enabled are both true",
        {"ingress": {"enabled": True}, "httpRoute": {"enabled": True, "parentRefs": [{"name": "a"}]}},
    ),
    ("api.enabled is false: there is nothing to lead to", {"api": {"enabled": False}, "ingress": {"enabled": True}}),
    ("ingress.hosts is empty", {"ingress": {"enabled": True, "hosts": []}}),
    ("httpRoute.parentRefs is empty", {"httpRoute": {"enabled": True}}),
    # Memory, of which RabbitMQ has to know its part
    ("rabbitmq.resources.limits.memory is 1Ti", {"rabbitmq": {"resources": {"limits": {"memory": "1Ti"}}}}),
]
_TO_DO = re.compile(r"\b(set|leave|keep|choose|enable|lower|use|swap|name|give|write|must)\b", re.IGNORECASE)


def _refusal(values: Object, release: str = "sw") -> str:
    return _said(json.dumps(values), release)


@cache
def _said(values: str, release: str) -> str:
    with pytest.raises(Refused) as refused:
        render(json.loads(values), release=release)
    return str(refused.value)


@pytest.mark.parametrize(("said", "values"), CASES, ids=[said for said, _ in CASES])
def test_what_cannot_work_is_refused_with_what_to_do(said: str, values: Object) -> None:
    sentences = _refusal(values).split(" - ")
    (sentence,) = [sentence for sentence in sentences if said in sentence]
    assert _TO_DO.search(sentence)


def test_a_release_whose_name_no_service_can_bear_is_refused() -> None:
    assert "must start with a letter: choose another name" in _refusal({}, release="1st")
    render(
        {name: {"fullnameOverride": f"first{name}"} for name in ("postgresql", "rabbitmq")}
        | {"fullnameOverride": "first"},
        release="1st",
    )


def test_all_that_is_wrong_is_said_at_once() -> None:
    said = _refusal(merged(_DATABASE, _BROKER, {"migrations": {"mode": "hook"}, "api": {"pdb": {"maxUnavailable": 0}}}))
    for part in ("There is no database", "There is no broker", "api.pdb.maxUnavailable"):
        assert part in said


def test_every_sentence_of_the_templates_is_tried_above() -> None:
    said = [_refusal(values) for _, values in CASES] + [_refusal({}, release="1st")]
    sentences = []
    for file in CHART.glob("templates/validation/*.tpl"):
        text = re.sub(r"\{\{-?\s*/\*.*?\*/\s*-?\}\}", "", file.read_text(), flags=re.DOTALL)
        # What is not an instruction of the template itself is what is said.
        sentences += [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("{{-")]
    for file in CHART.glob("charts/*/templates/*.tpl"):
        sentences += re.findall(r'fail \(?(?:printf )?"([^"]+)"', file.read_text())
    assert len(sentences) > 40
    untried = [
        sentence
        for sentence in sentences
        if not any(re.search(_as_pattern(sentence), text) for text in said)
        and "shows that this was a cluster" not in sentence
    ]
    assert untried == []


def _as_pattern(sentence: str) -> str:
    parts = re.split(r"\{\{.*?\}\}|%[sdv]", sentence.strip())
    return ".*".join(re.escape(part) for part in parts)


@pytest.mark.parametrize(
    ("said", "values"),
    [
        ("Additional property replica ", {"api": {"replica": 2}}),
        ("Additional property USER_API_URL", {"config": {"USER_API_URL": "https://example.com"}}),
        ("Additional property postgres ", {"postgres": {"enabled": False}}),
        ("Additional property pasword", {"postgresql": {"auth": {"pasword": "a"}}}),
        ("Additional property node", {"rabbitmq": {"node": 3}}),
        ("api.replicas", {"api": {"replicas": "two"}}),
        ("api.replicas", {"api": {"replicas": -1}}),
        ("beat.replicas", {"beat": {"replicas": 2}}),
        ("image.pullPolicy", {"image": {"pullPolicy": "Sometimes"}}),
        ("image.digest", {"image": {"digest": "latest"}}),
        ("config.LOG_LEVEL", {"config": {"LOG_LEVEL": "LOUD"}}),
        ("config.ENRICH_BATCH_SIZE", {"config": {"ENRICH_BATCH_SIZE": 0}}),
        ("config.USERS_API_URL", {"config": {"USERS_API_URL": "dummyjson/users"}}),
        ("config.TASK_TIME_LIMIT_SECONDS", {"config": {"TASK_TIME_LIMIT_SECONDS": "long"}}),
        ("migrations.mode", {"migrations": {"mode": "sometimes"}}),
        ("networkPolicy.enabled", {"networkPolicy": {"enabled": "yes"}}),
        ("api.extraEnv", {"api": {"extraEnv": {"A": "b"}}}),
        ("persistence.size", {"postgresql": {"persistence": {"size": "big"}}}),
        ("api.topologySpread.zone", {"api": {"topologySpread": {"zone": "Maybe"}}}),
        ("api.service.type", {"api": {"service": {"type": "Cluster"}}}),
        ("api.service.port", {"api": {"service": {"port": 70000}}}),
        ("terminationGracePeriodSeconds", {"postgresql": {"terminationGracePeriodSeconds": 10}}),
    ],
    ids=str,
)
def test_the_schema_refuses_unknown_keys_and_bad_types(said: str, values: Object) -> None:
    text = _refusal(values)
    assert "values don't meet the specifications of the schema" in text
    assert said in text + " "


def test_a_secret_in_values_is_not_quoted_when_they_are_refused() -> None:
    secret = "hunter2-hunter2"
    for values in (
        _database(url=f"mysql://a:{secret}@c/d"),
        _broker(url=f"sqs://a:{secret}@c"),
        merged(GIVEN, {"postgresql": {"auth": {"password": secret, "existingSecret": "a"}}}),
        {"apiToken": {"value": secret, "existingSecret": "a"}},
        merged(EXTERNAL, {"externalDatabase": {"url": f"postgresql://a:{secret}@c/d", "host": "x"}}),
    ):
        assert secret not in _refusal(values)
