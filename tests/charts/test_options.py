"""What single values do."""

import re

import pytest

from tests.charts.cases import EXTERNAL, GIVEN, SOURCES, TOKEN, merged, rendered
from tests.charts.helm import Manifests, Object, Pod, render
from tests.charts.policies import allowed, enters, leaves

# Roles


@pytest.mark.parametrize("component", ["api", "worker", "beat", "dummyjson", "flower"])
def test_a_component_can_be_left_out(component: str) -> None:
    values = merged({"config": SOURCES, "flower": {"enabled": True}}, {component: {"enabled": False}})
    manifests = render(values)
    left = [item["metadata"]["name"] for item in manifests if item["metadata"]["name"].endswith(f"-{component}")]
    assert left == []


def test_beat_is_one_pod_that_is_never_beside_another() -> None:
    manifests = rendered("everything")
    owner = manifests.pod("beat").owner
    assert owner["spec"]["replicas"] == 1
    assert owner["spec"]["strategy"] == {"type": "Recreate"}
    for kind in ("HorizontalPodAutoscaler", "PodDisruptionBudget", "ScaledObject"):
        assert not [name for name in manifests.names(kind) if name.endswith("-beat")]


def test_rollouts_of_the_others_never_have_fewer_pods_than_wanted() -> None:
    manifests = render()
    for component in ("api", "worker"):
        strategy = manifests.pod(component).owner["spec"]["strategy"]
        assert strategy["type"] == "RollingUpdate"
        assert strategy["rollingUpdate"]["maxUnavailable"] == 0


@pytest.mark.parametrize("component", ["api", "worker", "beat", "dummyjson"])
def test_no_replicas_pause_a_component(component: str) -> None:
    assert render({component: {"replicas": 0}}).pod(component).owner["spec"]["replicas"] == 0


@pytest.mark.parametrize("value", ["", "10.0.0.0/8,192.0.2.1"])
def test_proxies_in_front_of_the_api_are_believed_when_they_are_named(value: str) -> None:
    manifests = render({"api": {"forwardedAllowIps": value}})
    believing = {
        (pod.name, variable["value"])
        for pod in manifests.pods()
        for container in pod.containers
        for variable in container.get("env", [])
        if variable["name"] == "FORWARDED_ALLOW_IPS"
    }
    assert believing == ({(manifests.pod("api").name, value)} if value else set())


@pytest.mark.parametrize(
    ("component", "values"),
    [
        ("api", {"api": {"autoscaling": {"enabled": True}, "replicas": 4}}),
        ("worker", {"worker": {"autoscaling": {"enabled": True}, "replicas": 4}}),
        ("worker", {"worker": {"keda": {"enabled": True}, "replicas": 4}}),
    ],
    ids=str,
)
def test_an_autoscaler_owns_the_replicas(component: str, values: Object) -> None:
    manifests = render(values)
    owner = manifests.pod(component).owner
    assert "replicas" not in owner["spec"]
    (scaler,) = manifests.of("HorizontalPodAutoscaler") or manifests.of("ScaledObject")
    assert scaler["spec"]["scaleTargetRef"]["name"] == owner["metadata"]["name"]


def test_the_hpa_goes_by_what_is_named() -> None:
    autoscaling = {
        "enabled": True,
        "minReplicas": 3,
        "maxReplicas": 7,
        "targetCPUUtilizationPercentage": 60,
        "targetMemoryUtilizationPercentage": 80,
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 600}},
    }
    (hpa,) = render({"api": {"autoscaling": autoscaling}}).of("HorizontalPodAutoscaler")
    assert (hpa["spec"]["minReplicas"], hpa["spec"]["maxReplicas"]) == (3, 7)
    targets = {m["resource"]["name"]: m["resource"]["target"]["averageUtilization"] for m in hpa["spec"]["metrics"]}
    assert targets == {"cpu": 60, "memory": 80}
    assert hpa["spec"]["behavior"] == autoscaling["behavior"]


def test_keda_counts_what_workers_hold_and_never_shows_the_address() -> None:
    manifests = render(merged(GIVEN, {"worker": {"keda": {"enabled": True, "messagesPerReplica": 7}}}))
    (scaled,) = manifests.of("ScaledObject")
    (trigger,) = scaled["spec"]["triggers"]
    assert trigger["type"] == "rabbitmq"
    assert trigger["metadata"]["queueName"] == "synergyway"
    assert trigger["metadata"]["excludeUnacknowledged"] == "false"
    assert trigger["metadata"]["protocol"] == "http", "AMQP does not count what is delivered"
    assert trigger["metadata"]["value"] == "7"
    (authentication,) = manifests.of("TriggerAuthentication")
    assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
    (reference,) = authentication["spec"]["secretTargetRef"]
    secret = manifests.get("Secret", reference["name"])
    assert reference["key"] in secret["data"]
    assert "mq p" not in str(scaled)


def test_budgets_let_one_pod_go_at_a_time() -> None:
    manifests = render()
    budgets = {item["metadata"]["name"]: item["spec"] for item in manifests.of("PodDisruptionBudget")}
    assert set(budgets) >= {"sw-synergyway-api", "sw-synergyway-worker"}
    assert all(spec["maxUnavailable"] == 1 for spec in budgets.values())
    (budget,) = render({"api": {"replicas": 3, "pdb": {"minAvailable": 2}}, "worker": {"pdb": {"enabled": False}}}).of(
        "PodDisruptionBudget"
    )
    assert budget["spec"]["minAvailable"] == 2
    assert "maxUnavailable" not in budget["spec"]


def test_pods_of_a_rollout_spread_by_themselves() -> None:
    spreads = render().pod("api").spec["topologySpreadConstraints"]
    assert {spread["topologyKey"] for spread in spreads} == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
    for spread in spreads:
        assert spread["whenUnsatisfiable"] == "ScheduleAnyway"
        # Else the pods of the old version count, and the new ones end up in one zone.
        assert spread["matchLabelKeys"] == ["pod-template-hash"]


# Migrations


def test_the_migration_s_name_follows_all_that_its_pod_is_made_of() -> None:
    def name(**values: Object) -> str:
        return str(render(merged(GIVEN, values)).migration()["metadata"]["name"])

    assert re.fullmatch(r"sw-synergyway-migrate-[0-9a-f]{8}", name())
    assert name() == name(config={"LOG_LEVEL": "DEBUG"}) == name(api={"replicas": 9})
    names = {
        name(),
        name(image={"tag": "2"}),
        name(migrations={"resources": {"limits": {"memory": "1Gi"}}}),
        name(migrations={"command": ["true"]}),
        name(migrations={"extraEnv": [{"name": "A", "value": "b"}]}),
        name(podSecurityContext={"runAsUser": 20000}),
    }
    assert len(names) == 6


def test_the_job_is_no_hook_and_is_not_taken_away_by_a_clock() -> None:
    job = render().migration()
    assert "helm.sh/hook" not in str(job["metadata"].get("annotations"))
    # Argo CD and Flux would make it again and again.
    assert "ttlSecondsAfterFinished" not in job["spec"]


def test_as_a_hook_all_that_it_needs_is_there_before_it() -> None:
    manifests = rendered("migrations as a hook")
    job = manifests.migration()
    annotations = job["metadata"]["annotations"]
    assert "pre-install" in annotations["helm.sh/hook"]
    assert "pre-upgrade" in annotations["helm.sh/hook"]
    (pod,) = [pod for pod in manifests.pods() if pod.owner is job or pod.owner == job]
    needed = {("ServiceAccount", pod.spec["serviceAccountName"])}
    for container in pod.containers:
        for variable in container.get("env", []):
            for key in ("secretKeyRef", "configMapKeyRef"):
                if key in variable.get("valueFrom", {}):
                    needed.add((key.removesuffix("KeyRef"), variable["valueFrom"][key]["name"]))
    for kind, name in needed:
        found = [
            item for item in manifests if item["kind"].lower() == kind.lower() and item["metadata"]["name"] == name
        ]
        if found:
            hook = found[0]["metadata"].get("annotations", {})
            assert "pre-install" in hook.get("helm.sh/hook", ""), f"{kind} {name} comes after the hook that needs it"
            assert int(hook.get("helm.sh/hook-weight", 0)) < int(annotations.get("helm.sh/hook-weight", 0))


@pytest.mark.parametrize("component", ["api", "worker", "beat"])
def test_the_roles_wait_for_the_schema_unless_they_are_told_not_to(component: str) -> None:
    (init,) = render().pod(component).spec["initContainers"]
    assert init["name"] == "wait-for-schema"
    assert "wait-for-schema" in str(init["command"])
    assert "initContainers" not in render({"migrations": {"wait": False}}).pod(component).spec


def test_no_migrations_means_none() -> None:
    assert not rendered("no migrations").of("Job")


# Times


def test_the_pre_stop_sleep_and_the_running_requests_fit_into_the_grace_period() -> None:
    pod = render().pod("api")
    main = pod.spec["containers"][0]
    hook = str(main["lifecycle"]["preStop"])
    assert "sleep" in hook
    assert "USR1" in hook, "clients on kept connections have to be told"
    graceful = int(main["command"][main["command"].index("--timeout-graceful-shutdown") + 1])
    sleep = int(re.findall(r"sleep\D+(\d+)", hook)[0])
    assert sleep + graceful + 5 <= pod.spec["terminationGracePeriodSeconds"]


def test_a_worker_has_the_time_that_a_task_may_take() -> None:
    assert render().pod("worker").spec["terminationGracePeriodSeconds"] >= 300 + 30
    assert render().pod("beat").spec["terminationGracePeriodSeconds"] <= 10


# The edge


def test_the_ingress_leads_to_the_api() -> None:
    hosts = [{"host": "a.example.com", "paths": [{"path": "/users", "pathType": "Prefix"}]}]
    values: Object = {"ingress": {"enabled": True, "className": "nginx", "hosts": hosts, "annotations": {"a": "b"}}}
    (ingress,) = render(values).of("Ingress")
    assert ingress["spec"]["ingressClassName"] == "nginx"
    assert ingress["metadata"]["annotations"]["a"] == "b"
    (rule,) = ingress["spec"]["rules"]
    assert rule["host"] == "a.example.com"
    (path,) = rule["http"]["paths"]
    assert (path["path"], path["pathType"]) == ("/users", "Prefix")
    service = path["backend"]["service"]
    assert service["name"] == "sw-synergyway-api"
    ports = render().get("Service", service["name"])["spec"]["ports"]
    assert service["port"].get("name") in [port["name"] for port in ports] or service["port"].get("number") in [
        port["port"] for port in ports
    ]


def test_the_http_route_leads_to_the_api() -> None:
    (route,) = rendered("an HTTPRoute").of("HTTPRoute")
    (parent,) = route["spec"]["parentRefs"]
    assert parent == {"name": "gateway", "namespace": "edge", "sectionName": "https"}
    for rule in route["spec"]["rules"]:
        assert [backend["name"] for backend in rule["backendRefs"]] == ["sw-synergyway-api"]
        assert [backend["port"] for backend in rule["backendRefs"]] == [80]
    paths = {match["path"]["value"] for rule in route["spec"]["rules"] for match in rule["matches"]}
    assert paths == {"/users", "/healthz"}


def test_monitors_find_the_ports_that_they_name() -> None:
    manifests = rendered("everything")
    for monitor in manifests.of("ServiceMonitor"):
        selector = monitor["spec"]["selector"]["matchLabels"]
        found = [s for s in manifests.of("Service") if selector.items() <= s["metadata"]["labels"].items()]
        ports = {port["name"] for service in found for port in service["spec"]["ports"]}
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= ports
    for monitor in manifests.of("PodMonitor"):
        selector = monitor["spec"]["selector"]["matchLabels"]
        pods = [pod for pod in manifests.pods() if selector.items() <= pod.labels.items()]
        names = {port["name"] for pod in pods for c in pod.containers for port in c.get("ports", []) if "name" in port}
        assert {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]} <= names
    assert manifests.of("ServiceMonitor")
    assert manifests.of("PodMonitor")


# Secrets


def test_no_secret_value_is_anywhere_but_in_secrets() -> None:
    values = merged(
        GIVEN, {"apiToken": {"value": TOKEN}, "flower": {"enabled": True, "basicAuth": {"value": "me:hunter22"}}}
    )
    for item in render(values):
        if item["kind"] != "Secret":
            for secret in ("pg p@ss", "mq p@ss", "a-cookie-of", TOKEN, "hunter22"):
                assert secret not in str(item), f"{item['kind']}/{item['metadata']['name']}"


def test_passwords_in_addresses_are_percent_encoded() -> None:
    from base64 import b64decode
    from urllib.parse import unquote, urlsplit

    manifests = render(GIVEN)
    for name, password in (
        ("sw-postgresql", GIVEN["postgresql"]["auth"]["password"]),
        ("sw-rabbitmq", GIVEN["rabbitmq"]["auth"]["password"]),
    ):
        uri = urlsplit(b64decode(manifests.get("Secret", name)["data"]["uri"]).decode())
        assert unquote(uri.password or "") == password
        assert uri.hostname == name


# Network policies

_PORTS = {"postgresql": 5432, "rabbitmq": 5672, "api": 8000, "dummyjson": 8080, "flower": 5555}
_MAY = {
    "api": {"postgresql", "rabbitmq"},
    "worker": {"postgresql", "rabbitmq", "dummyjson"},
    "beat": {"postgresql", "rabbitmq"},
    "migrate": {"postgresql"},
    "flower": {"rabbitmq"},
    "dummyjson": set(),
    "postgresql": set(),
    "rabbitmq": set(),
}


def _of(manifests: Manifests, component: str) -> Pod:
    if component == "migrate":
        (pod,) = [pod for pod in manifests.pods() if pod.owner["kind"] == "Job"]
        return pod
    return manifests.pod(component)


@pytest.mark.parametrize("source", _MAY)
def test_each_pod_reaches_what_it_needs_and_nothing_else(source: str) -> None:
    manifests = rendered("policies")
    for target, port in _PORTS.items():
        if target != source:
            reached = allowed(manifests, _of(manifests, source), _of(manifests, target), port)
            assert reached is (target in _MAY[source]), f"{source} to {target}"
    assert not leaves(manifests, _of(manifests, source), 443), f"{source} reaches the internet"


def test_the_pods_of_helm_test_reach_what_they_ask() -> None:
    manifests = rendered("policies")
    for pod in manifests.pods():
        if pod.owner["kind"] == "Pod":
            assert allowed(manifests, pod, manifests.pod("api"), 8000)
    (journey,) = [pod for pod in manifests.pods() if pod.owner["metadata"]["name"].endswith("journey")]
    for server in ("postgresql", "rabbitmq"):
        assert allowed(manifests, journey, manifests.pod(server), _PORTS[server])


def test_from_outside_only_the_api_and_metrics_are_reached() -> None:
    manifests = rendered("policies")
    assert enters(manifests, manifests.pod("api"), 8000)
    assert enters(manifests, manifests.pod("worker"), 9100)
    for component, port in _PORTS.items():
        if component != "api":
            assert not enters(manifests, manifests.pod(component), port), component


def test_nodes_of_a_cluster_of_brokers_reach_each_other() -> None:
    manifests = render({"networkPolicy": {"enabled": True}, "rabbitmq": {"replicas": 3}})
    node = manifests.pod("rabbitmq")
    for port in (4369, 25672):
        assert allowed(manifests, node, node, port)
        assert not allowed(manifests, manifests.pod("worker"), node, port)


def test_with_external_services_pods_leave_by_their_ports_alone() -> None:
    manifests = rendered("policies and external services")
    for component, ports in (("api", {5432, 5671}), ("worker", {5432, 5671, 443, 80}), ("beat", {5432, 5671})):
        pod = manifests.pod(component)
        assert {port for port in (80, 443, 5432, 5671, 5672, 6379, 22) if leaves(manifests, pod, port)} == ports


def test_every_pod_is_under_a_policy_that_is_about_both_directions() -> None:
    manifests = rendered("policies")
    for pod in manifests.pods():
        about = [
            policy
            for policy in manifests.of("NetworkPolicy")
            if policy["spec"]["podSelector"]["matchLabels"].items() <= pod.labels.items()
        ]
        assert about, pod.name
        assert all(set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"} for policy in about)


# The subcharts


def test_the_database_s_data_are_below_the_mount_and_stay() -> None:
    manifests = render()
    pod = manifests.pod("postgresql")
    main = pod.spec["containers"][0]
    environment = {variable["name"]: variable.get("value") for variable in main["env"]}
    mount = next(m["mountPath"] for m in main["volumeMounts"] if m["name"] == "data")
    assert environment["PGDATA"].startswith(mount + "/")
    for name in ("postgresql", "rabbitmq"):
        policy = manifests.pod(name).owner["spec"]["persistentVolumeClaimRetentionPolicy"]
        assert policy == {"whenDeleted": "Retain", "whenScaled": "Retain"}
        assert manifests.pod(name).spec["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
    assert "127.0.0.1" in str(main["readinessProbe"]), "while it initialises, the server listens on its socket"
    assert pod.spec["terminationGracePeriodSeconds"] >= 60
    (shared,) = [volume for volume in pod.spec["volumes"] if volume.get("emptyDir", {}).get("medium") == "Memory"]
    assert shared["name"] in [m["name"] for m in main["volumeMounts"] if m["mountPath"] == "/dev/shm"]


def test_a_broker_node_keeps_its_name_wherever_it_runs() -> None:
    pod = render({"rabbitmq": {"replicas": 3}}, namespace="people").pod("rabbitmq")
    main = pod.spec["containers"][0]
    environment = {variable["name"]: variable.get("value") for variable in main["env"]}
    headless = pod.owner["spec"]["serviceName"]
    assert environment["RABBITMQ_NODENAME"] == f"rabbit@$(POD_NAME).{headless}.people.svc.cluster.local"
    assert pod.owner["spec"]["podManagementPolicy"] == "Parallel"
    service = render({"rabbitmq": {"replicas": 3}}).get("Service", headless)["spec"]
    assert service["clusterIP"] == "None"
    assert service["publishNotReadyAddresses"] is True
    mounts = {mount["mountPath"]: mount["name"] for mount in main["volumeMounts"]}
    assert mounts["/var/lib/rabbitmq/mnesia"] == "data"
    assert "await_online_quorum_plus_one" in str(main["lifecycle"]["preStop"])
    assert "lifecycle" not in render().pod("rabbitmq").spec["containers"][0]


def test_the_broker_knows_its_memory_its_timeout_and_its_peers() -> None:
    manifests = render(
        {"rabbitmq": {"replicas": 3, "resources": {"limits": {"memory": "2Gi"}}, "consumerTimeoutSeconds": 900}}
    )
    text = "\n".join(manifests.get("ConfigMap", "sw-rabbitmq")["data"].values())
    assert f"total_memory_available_override_value = {2 * 1024**3}" in text
    assert "consumer_timeout = 900000" in text
    assert "loopback_users" in text or "default_user" in text or "load_definitions" in text or "definitions" in text
    older = render({"rabbitmq": {"replicas": 3, "image": {"tag": "4.0-management"}}})
    text = "\n".join(older.get("ConfigMap", "sw-rabbitmq")["data"].values())
    assert "classic_config" in text
    assert "sw-rabbitmq-2" in text


def test_the_subcharts_images_are_the_official_ones_with_a_pinned_version() -> None:
    manifests = render()
    assert {c["image"] for c in manifests.pod("postgresql").containers} == {"postgres:17"}
    assert {c["image"] for c in manifests.pod("rabbitmq").containers} == {"rabbitmq:4.3-management"}
    assert "bitnami" not in str(manifests)


def test_external_servers_take_the_place_of_the_bundled_ones() -> None:
    manifests = render(EXTERNAL)
    assert not manifests.of("StatefulSet")
    assert not [name for name in manifests.names("Service") if "postgresql" in name or "rabbitmq" in name]
