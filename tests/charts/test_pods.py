"""What holds for every pod that the chart makes, those of the subcharts, of hooks and of `helm test` included."""

from base64 import b64decode
from typing import Any

import pytest

from app.settings import Settings, load_settings
from tests.charts.cases import ALL, CASES, EXTERNAL, SOURCES, TOKEN, merged, rendered
from tests.charts.helm import Manifests, Object, Pod, render

every_case = pytest.mark.parametrize("case", ALL)


@every_case
def test_every_container_keeps_to_the_restricted_profile(case: str) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/, and a root that cannot be written."""
    for pod in rendered(case).pods():
        security = pod.spec["securityContext"]
        assert not any(pod.spec.get(name) for name in ("hostNetwork", "hostPID", "hostIPC", "hostUsers"))
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] > 0
        assert not security.get("sysctls")
        for volume in pod.spec.get("volumes", []):
            assert volume.keys() & {"emptyDir", "configMap", "secret", "projected", "persistentVolumeClaim"}, volume
        for container in pod.containers:
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False
            assert own["capabilities"] == {"drop": ["ALL"]}
            assert own["readOnlyRootFilesystem"] is True
            assert not own.get("privileged")
            assert own.get("runAsNonRoot", True) is True
            assert own.get("runAsUser", 1) > 0
            assert own.get("seccompProfile", {"type": "RuntimeDefault"}) == {"type": "RuntimeDefault"}
            assert not any("hostPort" in port for port in container.get("ports", []))


@every_case
def test_no_pod_has_a_token_for_the_api_of_kubernetes(case: str) -> None:
    manifests = rendered(case)
    for pod in manifests.pods():
        assert pod.spec["automountServiceAccountToken"] is False, pod.name
        assert pod.spec["enableServiceLinks"] is False, pod.name
    for account in manifests.of("ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    assert not manifests.of("Role") + manifests.of("ClusterRole") + manifests.of("RoleBinding")


@every_case
def test_every_container_says_what_it_needs(case: str) -> None:
    for pod in rendered(case).pods():
        assert pod.spec["terminationGracePeriodSeconds"] > 0
        for container in pod.containers:
            where = f"{pod.name}/{container['name']}"
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), where
            assert "memory" in container["resources"]["limits"], where
            assert container["imagePullPolicy"] in ("IfNotPresent", "Always", "Never"), where
            assert ":" in container["image"], where
            assert not container["image"].endswith(":latest"), where


@every_case
def test_what_runs_for_long_is_probed_and_no_probe_asks_the_broker(case: str) -> None:
    for pod in rendered(case).pods():
        if pod.owner["kind"] not in ("Deployment", "StatefulSet"):
            continue
        main = pod.spec["containers"][0]
        assert {"startupProbe", "livenessProbe"} <= main.keys(), pod.name
        liveness = main["livenessProbe"]
        # A minute at the least before something that hangs is restarted, so that no short outage does it.
        assert liveness.get("periodSeconds", 10) * liveness.get("failureThreshold", 3) >= 30
        assert liveness.get("timeoutSeconds", 1) >= 3
        text = str([main[probe] for probe in main if probe.endswith("Probe")])
        assert "inspect" not in text
        assert "rabbitmqctl" not in text
        assert "rabbitmq-diagnostics" not in text


def test_the_api_is_alive_without_its_database_and_ready_with_it() -> None:
    main = render().pod("api").spec["containers"][0]
    assert main["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert main["readinessProbe"]["httpGet"]["path"] == "/readyz"


@pytest.mark.parametrize("component", ["worker", "beat"])
def test_worker_and_beat_are_alive_by_the_age_of_a_file(component: str) -> None:
    main = render().pod(component).spec["containers"][0]
    for probe in ("startupProbe", "livenessProbe"):
        assert "HEARTBEAT_FILE" in str(main[probe]["exec"]["command"])
    assert "readinessProbe" not in main


def _environment(manifests: Manifests, pod: Pod) -> dict[str, Any]:
    """The variables of the main container, those from Secrets as the reference to them."""
    main = pod.spec["containers"][0]
    found: dict[str, Any] = {}
    for source in main.get("envFrom", []):
        if "configMapRef" in source and source["configMapRef"]["name"] in manifests.names("ConfigMap"):
            found |= manifests.get("ConfigMap", source["configMapRef"]["name"])["data"]
    return found | {
        variable["name"]: variable.get("value", variable.get("valueFrom")) for variable in main.get("env", [])
    }


_CONNECTIONS: Object = merged(
    EXTERNAL,
    {
        "externalDatabase": {"url": "postgresql://a:b@c/DATABASE_URL"},
        "externalBroker": {
            "url": "amqp://a:b@c//CELERY_BROKER_URL",
            "resultBackend": "redis://c/CELERY_RESULT_BACKEND",
        },
        "apiToken": {"value": f"{TOKEN}-API_TOKEN"},
    },
)
_IN_SECRETS = {"DATABASE_URL", "CELERY_BROKER_URL", "CELERY_RESULT_BACKEND", "API_TOKEN"}
# Of a broker whose Secret holds parts.
_IN_PARTS = {"CELERY_BROKER_USERNAME": "username", "CELERY_BROKER_PASSWORD": "password"}
# A worker asked for a token would be asked for nothing: nobody calls it.
_OF_THE_API = {"READ_TOKEN_REQUIRED"}
_NAMES = sorted(name.upper() for name in Settings.model_fields)
# Other values than the defaults, where adding to the default would not do.
_OTHERS: Object = SOURCES | {"LOG_LEVEL": "WARNING", "HEARTBEAT_FILE": "/tmp/heart", "READ_TOKEN_REQUIRED": True}
_OTHERS |= {"TASK_TIME_LIMIT_SECONDS": 299}
# A broker in files serves the processes of one machine: no value of its own, but nobody is kept from it.
_BY_EXTRA_ENV = {"FILESYSTEM_BROKER_DIR"}


@pytest.mark.parametrize("name", sorted(_IN_SECRETS & set(_NAMES)))
def test_addresses_and_the_token_come_out_of_secrets(name: str) -> None:
    manifests = render(_CONNECTIONS)
    for component in ("api", "worker", "beat"):
        value = _environment(manifests, manifests.pod(component)).get(name)
        if name == "API_TOKEN" and component != "api":
            assert value is None, "the token is for the api alone"
            continue
        secret = manifests.get("Secret", value["secretKeyRef"]["name"])
        assert b64decode(secret["data"][value["secretKeyRef"]["key"]]).decode().endswith(name)


@pytest.mark.parametrize("name", sorted(_IN_PARTS))
@pytest.mark.parametrize("component", ["api", "worker", "beat"])
def test_name_and_password_of_a_broker_come_out_of_its_secret(name: str, component: str) -> None:
    manifests = rendered("external by a Secret's parts")
    found = _environment(manifests, manifests.pod(component))[name]
    assert found == {"secretKeyRef": {"name": "broker", "key": _IN_PARTS[name]}}


@pytest.mark.parametrize("name", [name for name in _NAMES if name not in {*_IN_SECRETS, *_IN_PARTS}])
def test_every_variable_that_the_application_reads_can_be_set(name: str) -> None:
    value = _OTHERS.get(name)
    if value is None:
        default = Settings.model_fields[name.lower()].default
        value = "dummyjson" if name.endswith("_SOURCE") else "5 4 * * *" if name.endswith("_CRON") else default
        value = value + 1 if isinstance(value, int | float) else value if value != default else f"{value}x"
    values: Object = {"config": {name: value}}
    if name in _BY_EXTRA_ENV:
        values = {component: {"extraEnv": [{"name": name, "value": value}]} for component in ("api", "worker", "beat")}
    manifests = render(values | {"apiToken": {"value": TOKEN}})
    for component in ("api",) if name in _OF_THE_API else ("api", "worker", "beat"):
        found = _environment(manifests, manifests.pod(component))[name]
        assert found == (
            str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
        )


def test_large_numbers_arrive_as_they_were_typed() -> None:
    manifests = render({"config": {"PROVIDER_MAX_BODY_BYTES": 123456789, "CHUNK_ROWS": 100000}})
    data = manifests.get("ConfigMap", "sw-synergyway")["data"]
    assert (data["PROVIDER_MAX_BODY_BYTES"], data["CHUNK_ROWS"]) == ("123456789", "100000")


def test_the_settings_of_the_chart_are_ones_that_the_application_takes() -> None:
    data = render().get("ConfigMap", "sw-synergyway")["data"]
    load_settings({name: value for name, value in data.items() if name in _NAMES})


def _annotations(values: Object, component: str) -> Object:
    return dict(
        render(merged({"secrets": {"generate": False}, **CASES["given passwords"]}, values))
        .pod(component)
        .metadata["annotations"]
    )


@pytest.mark.parametrize(
    ("changed", "components"),
    [
        ({"config": {"LOG_LEVEL": "DEBUG"}}, ("api", "worker", "beat")),
        ({"postgresql": {"auth": {"password": "another"}}}, ("api", "worker", "beat", "postgresql")),
        ({"rabbitmq": {"auth": {"password": "another"}}}, ("api", "worker", "beat", "rabbitmq")),
        ({"apiToken": {"value": TOKEN}}, ("api",)),
    ],
    ids=str,
)
def test_pods_start_anew_when_what_they_read_at_their_start_changes(changed: Object, components: tuple[str]) -> None:
    before, after = render(CASES["given passwords"]), render(merged(CASES["given passwords"], changed))
    for component in components:
        assert before.pod(component).metadata["annotations"] != after.pod(component).metadata["annotations"]


@pytest.mark.parametrize("component", ["postgresql", "rabbitmq", "dummyjson"])
def test_pods_stay_when_only_the_settings_of_others_change(component: str) -> None:
    changed = merged(CASES["given passwords"], {"config": {"LOG_LEVEL": "DEBUG"}, "image": {"tag": "other"}})
    before, after = render(CASES["given passwords"]).pod(component), render(changed).pod(component)
    if component == "dummyjson":
        assert before.metadata == after.metadata
    else:
        assert before == after


def test_generated_passwords_move_no_pod() -> None:
    """Each render without a cluster makes others, and what a pod's template says must not follow them."""
    first = {pod.name: (pod.metadata, pod.spec) for pod in render().pods()}
    again = {pod.name: (pod.metadata, pod.spec) for pod in render({"commonLabels": {}}, release="sw").pods()}
    assert first == again


@pytest.mark.parametrize("component", ["api", "worker", "beat", "dummyjson", "flower"])
def test_what_is_given_for_a_component_is_on_its_pod(component: str) -> None:
    manifests = rendered("everything")
    pod = manifests.pod(component)
    main = pod.spec["containers"][0]
    assert pod.metadata["annotations"]["example.com/note"] == "a"
    assert pod.metadata["annotations"]["example.com/source"] == "git"
    assert pod.labels["example.com/team"] == "b"
    assert pod.labels["example.com/owner"] == "people"
    assert pod.owner["metadata"]["labels"]["example.com/owner"] == "people"
    assert pod.owner["metadata"]["annotations"]["example.com/source"] == "git"
    assert pod.spec["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert pod.spec["tolerations"][0]["key"] == "spot"
    assert "nodeAffinity" in pod.spec["affinity"]
    assert pod.spec["priorityClassName"] == "important"
    assert pod.spec["imagePullSecrets"] == [{"name": "pull"}]
    assert {item["topologyKey"] for item in pod.spec["topologySpreadConstraints"]} == {
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    }
    for spread in pod.spec["topologySpreadConstraints"]:
        assert spread["labelSelector"]["matchLabels"].items() <= pod.labels.items()
    assert {"name": "LOG_LEVEL", "value": "DEBUG"} in main["env"]
    assert {"secretRef": {"name": "more", "optional": True}} in main["envFrom"]
    assert {"name": "more", "mountPath": "/etc/more", "readOnly": True} in main["volumeMounts"]
    assert "first" in [container["name"] for container in pod.spec["initContainers"]]
    assert "beside" in [container["name"] for container in pod.spec["containers"]]
    account = manifests.get("ServiceAccount", pod.spec["serviceAccountName"])
    assert account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"].endswith(f":role/{component}")
    assert main["image"].startswith("registry.example.com/synergyway@sha256:")


def test_commands_and_contexts_can_be_replaced_key_by_key() -> None:
    pod = render(
        {"api": {"command": ["sleep"], "args": ["1"], "securityContext": {"readOnlyRootFilesystem": False}}}
    ).pod("api")
    main = pod.spec["containers"][0]
    assert (main["command"], main["args"]) == (["sleep"], ["1"])
    assert main["securityContext"]["readOnlyRootFilesystem"] is False
    assert main["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_an_image_is_named_by_registry_tag_and_digest() -> None:
    def image(**given: str) -> str:
        return str(render({"image": given}).pod("api").spec["containers"][0]["image"])

    assert image() == "synergyway:0.1.0"
    assert image(tag="1.2") == "synergyway:1.2"
    assert image(registry="r.example.com", repository="a/b", tag="1") == "r.example.com/a/b:1"
    digest = "sha256:" + "a" * 64
    assert image(tag="1", digest=digest) == f"synergyway@{digest}"
