"""What stands around the chart: its values files and README, kind, skaffold, k8s/, the workflow, the documentation."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.charts.cases import FILES
from tests.charts.helm import CHART, KUBERNETES, Object, render
from tests.charts.schemas import faults
from tests.charts.values_table import README, rows, written
from tests.conftest import PROJECT

K8S = PROJECT / "k8s"


def _documents(path: Path) -> list[Any]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


# The chart


def test_the_readme_s_table_is_that_of_the_values() -> None:
    assert README.read_text() == written(), "run `make chart-docs`"
    assert len(list(rows())) > 200


@pytest.mark.parametrize("subchart", ["postgresql", "rabbitmq"])
def test_a_subchart_s_values_are_repeated_with_the_chart_s_own(subchart: str) -> None:
    """So that a reader of one file sees all of them, with what is said about them."""
    own = (CHART / "charts" / subchart / "values.yaml").read_text()
    indented = re.search(rf"^{subchart}:\n((?:(?:  .*)?\n)+)", (CHART / "values.yaml").read_text(), re.MULTILINE)
    assert indented
    repeated = re.sub(r"^  ", "", indented[1], flags=re.MULTILINE)
    assert repeated.strip() == own[own.index("# -- ") :].strip()


def test_there_are_values_for_kind_eks_and_high_availability() -> None:
    assert {"values-kind.yaml", "values-eks.yaml", "values-ha.yaml"} <= set(FILES)


def test_values_for_eks_are_what_eks_needs() -> None:
    manifests = render(files=("values-eks.yaml",))
    assert not manifests.of("StatefulSet"), "RDS and Amazon MQ are in their place"
    annotations = manifests.get("Ingress", "sw-synergyway-api")["metadata"]["annotations"]
    assert annotations["alb.ingress.kubernetes.io/target-type"] == "ip"
    assert annotations["alb.ingress.kubernetes.io/healthcheck-path"] == "/readyz"
    attributes = annotations["alb.ingress.kubernetes.io/target-group-attributes"]
    delay = int(re.search(r"deregistration_delay\.timeout_seconds=(\d+)", attributes)[1])  # type: ignore[index]
    pod = manifests.pod("api")
    sleep = re.search(r"sleep['\", ]+(\d+)", str(pod.spec["containers"][0]["lifecycle"]["preStop"]))
    assert sleep
    assert delay <= int(sleep[1]) < pod.spec["terminationGracePeriodSeconds"]
    variables = {variable["name"]: variable for variable in pod.spec["containers"][0]["env"]}
    assert variables["PGSSLMODE"]["value"] == "verify-full"
    assert {spread["topologyKey"] for spread in pod.spec["topologySpreadConstraints"]} >= {
        "topology.kubernetes.io/zone"
    }
    assert "spot" in str(manifests.pod("worker").spec["nodeSelector"])
    assert "on-demand" in str(manifests.pod("beat").spec["nodeSelector"])
    assert "do-not-disrupt" not in str(manifests)


def test_values_for_high_availability_leave_nothing_alone() -> None:
    manifests = render(files=("values-ha.yaml",))
    for name in ("api", "worker"):
        owner = manifests.pod(name).owner
        autoscaled = [item for kind in ("HorizontalPodAutoscaler", "ScaledObject") for item in manifests.of(kind)]
        fewest = [
            i["spec"].get("minReplicas", i["spec"].get("minReplicaCount"))
            for i in autoscaled
            if name in i["metadata"]["name"]
        ]
        assert max([owner["spec"].get("replicas", 0), *fewest]) >= 2
        assert manifests.get("PodDisruptionBudget", f"sw-synergyway-{name}")
    if "sw-rabbitmq" in manifests.names("StatefulSet"):
        assert manifests.get("StatefulSet", "sw-rabbitmq")["spec"]["replicas"] == 3


# kind and skaffold


def test_the_kind_cluster_has_an_edge_and_three_zones() -> None:
    (config,) = _documents(PROJECT / "kind-config.yaml")
    assert config["apiVersion"] == "kind.x-k8s.io/v1alpha4"
    control, *workers = config["nodes"]
    assert control["role"] == "control-plane"
    assert control["labels"] == {"ingress-ready": "true"}
    assert {port["containerPort"] for port in control["extraPortMappings"]} == {80, 443}
    assert {port["listenAddress"] for port in control["extraPortMappings"]} == {"127.0.0.1"}
    assert [node["role"] for node in workers] == ["worker"] * 3
    assert len({node["labels"]["topology.kubernetes.io/zone"] for node in workers}) == 3


def _skaffold() -> Object:
    (config,) = _documents(PROJECT / "skaffold.yaml")
    return dict(config)


def _patched(config: Object, profile: str) -> Object:
    """The configuration with a profile's JSON patches."""
    (found,) = [item for item in config["profiles"] if item["name"] == profile]
    for patch in found.get("patches", []):
        *path, last = patch["path"].strip("/").split("/")
        target: Any = config
        for step in path:
            target = target[int(step)] if isinstance(target, list) else target[step]
        if isinstance(target, list) and patch["op"] == "add":
            target.append(patch["value"])
        elif patch["op"] == "remove":
            del target[int(last) if isinstance(target, list) else last]
        else:
            assert last in target, f"{patch['path']} replaces nothing"
            target[last] = patch["value"]
    return config


def test_skaffold_builds_stages_that_the_dockerfile_has() -> None:
    stages = set(re.findall(r"^FROM \S+ AS (\S+)", (PROJECT / "Dockerfile").read_text(), re.MULTILINE))
    assert {"dev", "live", "runtime"} <= stages
    assert _skaffold()["apiVersion"] == "skaffold/v4beta13"
    for profile in (None, "kind", "debug", "observability", "eks"):
        config = _patched(_skaffold(), profile) if profile else _skaffold()
        (artifact,) = config["build"]["artifacts"]
        assert artifact["docker"]["target"] in stages
        assert ("sync" in artifact) == (artifact["docker"]["target"] == "live"), "only `live` can be changed"


def test_skaffold_syncs_what_the_application_is_made_of() -> None:
    (artifact,) = _skaffold()["build"]["artifacts"]
    patterns = [rule["src"] for rule in artifact["sync"]["manual"]]
    assert all(rule["dest"] == "." for rule in artifact["sync"]["manual"])
    for file in ("app/main.py", "app/api/routes_users.py", "app/templates/users.html"):
        assert any(re.fullmatch(_as_pattern(pattern), file) for pattern in patterns), file


def _as_pattern(glob: str) -> str:
    return re.escape(glob).replace(r"\*\*/", "(?:.*/)?").replace(r"\*\*", ".*").replace(r"\*", "[^/]*")


@pytest.mark.parametrize("profile", [None, "kind", "debug", "observability", "eks"])
def test_skaffold_installs_the_chart_with_values_that_render(profile: str | None) -> None:
    config = _patched(_skaffold(), profile) if profile else _skaffold()
    (release,) = config["deploy"]["helm"]["releases"]
    assert (PROJECT / release["chartPath"]) == CHART
    values: Object = {}
    for name, template in release["setValueTemplates"].items():
        section, key = name.split(".")
        values.setdefault(section, {})[key] = {"REPO": "registry/synergyway", "TAG": "abc", "DIGEST": ""}[
            re.fullmatch(r"\{\{\.IMAGE_(\w+)_synergyway\}\}", template)[1]  # type: ignore[index]
        ]
    files = tuple(str(PROJECT / file) for file in release["valuesFiles"])
    manifests = render(values, files=files, release=release["name"], namespace=release["namespace"])
    assert faults(manifests, KUBERNETES[-1]) == []
    for component in ("api", "worker", "beat"):
        main = manifests.pod(component).spec["containers"][0]
        assert main["image"].endswith("registry/synergyway:abc")
        live = config["build"]["artifacts"][0]["docker"]["target"] == "live"
        assert main["securityContext"]["readOnlyRootFilesystem"] is not live
        if live and profile != "debug":
            assert {"--reload", "watchfiles"} & set(main["command"]), "changed code has to be loaded"
    services = manifests.names("Service")
    for forward in config["portForward"]:
        if profile != "eks" or forward["resourceName"] == "sw-synergyway-api":
            assert forward["resourceName"] in services
            ports = manifests.get("Service", forward["resourceName"])["spec"]["ports"]
            assert forward["port"] in [port["port"] for port in ports]


def test_skaffold_has_the_profiles_and_the_check_that_the_documentation_names() -> None:
    config = _skaffold()
    assert [profile["name"] for profile in config["profiles"]] == ["kind", "debug", "observability", "eks"]
    (check,) = config["verify"]
    assert check["container"]["image"] == config["build"]["artifacts"][0]["image"]
    compile(check["container"]["command"][2], "verify", "exec")


# k8s/


@pytest.mark.parametrize("kube_version", KUBERNETES)
@pytest.mark.parametrize("file", sorted(str(p.relative_to(K8S)) for p in K8S.glob("[ep]*/*.yaml")))
def test_policies_and_examples_are_objects_that_their_owners_take(file: str, kube_version: str) -> None:
    assert faults(_documents(K8S / file), kube_version) == []


def test_the_namespace_lets_only_restricted_pods_in() -> None:
    (namespace,) = _documents(K8S / "policies" / "namespace-restricted.yaml")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_nothing_talks_by_default() -> None:
    (policy,) = _documents(K8S / "policies" / "default-deny.yaml")
    assert policy["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_the_quota_has_room_for_the_values_of_kind_twice_over() -> None:
    quota = _documents(K8S / "policies" / "limits.yaml")[1]["spec"]["hard"]
    pods = sum(pod.owner["spec"].get("replicas", 1) for pod in render(files=("values-kind.yaml",)).pods())
    assert int(quota["pods"]) > 2 * pods


@pytest.mark.parametrize("tool", ["argocd", "flux"])
def test_the_examples_hand_values_to_the_chart_that_render(tool: str) -> None:
    documents = _documents(K8S / "examples" / f"{tool}.yaml")
    if tool == "argocd":
        helm = documents[0]["spec"]["source"]["helm"]
        values, release = helm["valuesObject"], helm["releaseName"]
    else:
        values, release = documents[1]["spec"]["values"], documents[1]["metadata"]["name"]
    manifests = render(values, release=release)
    # Two renders without a cluster, as Argo CD makes them, are the same: nothing is generated.
    assert values["secrets"] == {"generate": False}
    made = {
        document["spec"]["target"]["name"]
        for document in _documents(K8S / "examples" / "external-secrets.yaml")
        if document["kind"] == "ExternalSecret"
    }
    needed = set(re.findall(r"'secretKeyRef': \{[^}]*'name': '([^']+)'", str(manifests)))
    assert needed <= made | manifests.names("Secret")


def test_external_secrets_makes_what_the_values_for_eks_name() -> None:
    made = {
        document["spec"]["target"]["name"]: {
            *document["spec"]["target"].get("template", {}).get("data", {}),
            *(item["secretKey"] for item in document["spec"]["data"] if "template" not in document["spec"]["target"]),
        }
        for document in _documents(K8S / "examples" / "external-secrets.yaml")
        if document["kind"] == "ExternalSecret"
    }
    manifests = render(files=("values-eks.yaml",))
    references = [
        variable["valueFrom"]["secretKeyRef"]
        for pod in manifests.pods()
        for container in pod.containers
        for variable in container.get("env", [])
        if "secretKeyRef" in variable.get("valueFrom", {})
    ]
    outside = [reference for reference in references if reference["name"] not in manifests.names("Secret")]
    assert {reference["name"] for reference in outside} == set(made)
    for reference in outside:
        assert reference["key"] in made[reference["name"]], reference


def test_add_ons_are_pinned_and_say_how_they_are_installed() -> None:
    files = sorted(K8S.glob("addons/*.yaml"))
    assert {file.stem for file in files} == {
        "metrics-server",
        "keda",
        "kube-prometheus-stack",
        "otel-collector",
        "tempo",
    }
    for file in files:
        first, *rest = file.read_text().splitlines()
        pinned = re.match(r"# [\w-]+ (\d+\.\d+\.\d+): ", first)
        assert pinned, file.name
        command = " ".join(line.lstrip("# ").rstrip("\\") for line in rest if line.startswith("#"))
        assert f"--version {pinned[1]}" in command
        assert f"--values k8s/addons/{file.name}" in command
        assert isinstance(_documents(file)[0], dict)


# The workflow and the documentation


def _workflow() -> Object:
    (workflow,) = _documents(PROJECT / ".github" / "workflows" / "chart.yml")
    return dict(workflow)


def test_the_workflow_installs_on_three_versions_and_pins_what_it_uses() -> None:
    text = (PROJECT / ".github" / "workflows" / "chart.yml").read_text()
    (job,) = [job for job in _workflow()["jobs"].values() if "strategy" in job]
    nodes = "\n".join(job["strategy"]["matrix"]["node"])
    versions = re.findall(r"^kindest/node:v(1\.\d+)\.\d+@sha256:[0-9a-f]{64}$", nodes, re.MULTILINE)
    assert versions == list(KUBERNETES)
    for used in re.findall(r"uses: (\S+)", text):
        assert re.search(r"@[0-9a-f]{40}$", used), used
    journey = (PROJECT / ".ci" / "cluster_journey.sh").read_text()
    assert "run: .ci/cluster_journey.sh" in text
    for step in ("h test sw", "h upgrade sw", "kubectl drain", "h uninstall sw", "h install sw"):
        assert f"\n{step}" in journey, step


@pytest.mark.parametrize(
    "file",
    ["README.md", "docs/kind.md", "docs/eks.md", "docs/operations.md", "k8s/README.md", "charts/synergyway/README.md"],
)
def test_documents_lead_to_files_that_are_there(file: str) -> None:
    path = PROJECT / file
    text = path.read_text()
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{file} leads to {target}"
    for target in re.findall(r"\b((?:k8s|charts|docs)/[\w./-]+\.(?:yaml|md))\b", text):
        assert (PROJECT / target).exists(), f"{file} names {target}"
