"""What holds for every object that the chart renders, whatever the values."""

import json
import re

import pytest

from tests.charts.cases import ALL, CASES, LONG, rendered, with_passwords
from tests.charts.helm import CHART, KUBERNETES, Object, Pod, find_helm, render, run
from tests.charts.schemas import faults

every_case = pytest.mark.parametrize("case", ALL)


@pytest.mark.parametrize("kube_version", KUBERNETES)
@every_case
def test_kubernetes_takes_every_object(case: str, kube_version: str) -> None:
    manifests = rendered(case, kube_version=kube_version)
    assert manifests
    assert faults(manifests, kube_version) == []


@every_case
def test_every_object_has_a_name_of_its_own_in_the_release_s_namespace(case: str) -> None:
    names = [(item["kind"], item["metadata"]["name"]) for item in rendered(case)]
    assert sorted(names) == sorted(set(names))
    assert {item["metadata"]["namespace"] for item in rendered(case)} == {"synergyway"}


@every_case
def test_names_and_labels_fit_with_the_longest_release_name(case: str) -> None:
    manifests = rendered(case, release=LONG)
    for item in manifests:
        room = {"StatefulSet": 52, "CronJob": 52}.get(item["kind"], 63)
        assert len(item["metadata"]["name"]) <= room, item["metadata"]["name"]
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", item["metadata"]["name"])
        for labels in (item["metadata"].get("labels", {}), *_selectors(item)):
            for value in labels.values():
                assert re.fullmatch(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?", str(value)), value
    names = [(item["kind"], item["metadata"]["name"]) for item in manifests]
    assert len(names) == len(set(names))


def _selectors(item: Object) -> list[Object]:
    spec = item.get("spec", {})
    if item["kind"] == "Service":
        return [spec["selector"]]
    selector = spec.get("selector")
    return [selector["matchLabels"]] if isinstance(selector, dict) and "matchLabels" in selector else []


@every_case
def test_two_releases_with_long_names_that_differ_at_their_end_share_no_name(case: str) -> None:
    first, second = (rendered(case, release=LONG[:-1] + end) for end in "ab")
    shared = {(item["kind"], item["metadata"]["name"]) for item in first} & {
        (item["kind"], item["metadata"]["name"]) for item in second
    }
    assert shared == set()


@every_case
def test_objects_say_what_they_belong_to(case: str) -> None:
    for item in rendered(case):
        labels = item["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "sw"
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert labels["app.kubernetes.io/part-of"] == "synergyway"
        assert {"app.kubernetes.io/name", "app.kubernetes.io/component", "helm.sh/chart"} <= labels.keys()


@every_case
def test_selectors_find_the_pods_of_their_own_object_alone(case: str) -> None:
    manifests = rendered(case)
    pods = list(manifests.pods())
    for item in manifests:
        if item["kind"] in ("Deployment", "StatefulSet"):
            found = [pod.name for pod in pods if _matches(item["spec"]["selector"]["matchLabels"], pod)]
            assert found == [f"{item['kind']}/{item['metadata']['name']}"]
        if item["kind"] in ("Service", "PodDisruptionBudget", "PodMonitor") and _selectors(item):
            (selector,) = _selectors(item)
            found = [pod.name for pod in pods if _matches(selector, pod)]
            assert found, f"{item['kind']}/{item['metadata']['name']} finds no pod"
            if item["kind"] != "PodMonitor":
                assert len(found) == 1


def _matches(selector: Object, pod: Pod) -> bool:
    return bool(selector.items() <= pod.labels.items())


@every_case
def test_services_lead_to_ports_that_their_pods_have(case: str) -> None:
    manifests = rendered(case)
    for service in manifests.of("Service"):
        (pod,) = [pod for pod in manifests.pods() if _matches(service["spec"]["selector"], pod)]
        ports = [port for container in pod.containers for port in container.get("ports", [])]
        for port in service["spec"]["ports"]:
            target = port.get("targetPort", port["port"])
            assert target in [item.get("name") for item in ports] + [item["containerPort"] for item in ports]


@every_case
def test_pods_refer_to_nothing_that_is_not_there(case: str) -> None:
    manifests = rendered(case)
    accounts = {account["metadata"]["name"] for account in manifests.of("ServiceAccount")}
    outside = {"more", "database", "broker", "pg", "mq", "token", "flower", "rds-ca"}
    # What the examples in k8s/ make: External Secrets, and the operator of a CloudNativePG cluster.
    outside |= {"synergyway-database", "synergyway-broker", "synergyway-api", "synergyway-db-app"}
    for pod in manifests.pods():
        assert pod.spec.get("serviceAccountName", "default") in accounts | {"default"}
        volumes = {volume["name"] for volume in pod.spec.get("volumes", [])}
        volumes |= {c["metadata"]["name"] for c in pod.owner["spec"].get("volumeClaimTemplates", [])}
        used = {mount["name"] for container in pod.containers for mount in container.get("volumeMounts", [])}
        assert used <= volumes, f"{pod.name} mounts {used - volumes}"
        assert volumes <= used, f"{pod.name} has {volumes - used} for nothing"
        for kind, name, keys in _references(pod):
            if name in manifests.names(kind):
                item = manifests.get(kind, name)
                assert keys <= {
                    *(item.get("data") or {}),
                    *(item.get("stringData") or {}),
                }, f"{kind} {name} lacks {keys}"
            else:
                assert name in outside, f"{pod.name} needs {kind} {name}"


def _references(pod: Pod) -> list[tuple[str, str, set[str]]]:
    found = []
    for volume in pod.spec.get("volumes", []):
        if "configMap" in volume:
            found.append(("ConfigMap", volume["configMap"]["name"], set()))
        if "secret" in volume:
            found.append(("Secret", volume["secret"]["secretName"], set()))
    for container in pod.containers:
        for source in container.get("envFrom", []):
            kind = "ConfigMap" if "configMapRef" in source else "Secret"
            found.append((kind, next(value["name"] for key, value in source.items() if key.endswith("Ref")), set()))
        for variable in container.get("env", []):
            for key, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
                if key in variable.get("valueFrom", {}):
                    reference = variable["valueFrom"][key]
                    found.append((kind, reference["name"], set() if reference.get("optional") else {reference["key"]}))
    return found


@every_case
def test_no_list_of_a_pod_has_the_same_key_twice(case: str) -> None:
    """Server-side apply refuses such an object; a client-side one lets the last one win."""
    for pod in rendered(case).pods():
        _unique(pod.name, [volume["name"] for volume in pod.spec.get("volumes", [])])
        _unique(pod.name, [container["name"] for container in pod.containers])
        for container in pod.containers:
            where = f"{pod.name}/{container['name']}"
            _unique(where, [variable["name"] for variable in container.get("env", [])])
            _unique(where, [mount["mountPath"] for mount in container.get("volumeMounts", [])])
            _unique(where, [port["containerPort"] for port in container.get("ports", [])])
            _unique(where, [port["name"] for port in container.get("ports", [])])


def _unique(where: str, keys: list[object]) -> None:
    assert len(keys) == len(set(keys)), f"{where}: {keys}"


@pytest.mark.parametrize("case", CASES)
def test_two_renders_with_given_passwords_are_identical(case: str) -> None:
    values = with_passwords(case)
    first = run(["template", "sw", str(CHART), "--values", "-"], json.dumps(values))
    assert first == run(["template", "sw", str(CHART), "--values", "-"], json.dumps(values))


@pytest.mark.skipif(not (find_helm("oldest") and find_helm("newest")), reason="npm, which brings them, is not here")
@pytest.mark.parametrize("case", CASES)
def test_the_oldest_and_the_newest_helm_render_the_same(case: str) -> None:
    values = with_passwords(case)
    oldest, newest = (render(values, helm=name) for name in ("oldest", "newest"))
    assert sorted(oldest, key=str) == sorted(newest, key=str)
