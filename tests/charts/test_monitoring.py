"""Dashboards and alerts in the chart: as they are tested, with the labels of the release."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.charts.cases import EVERYTHING, GIVEN, merged, rendered
from tests.charts.helm import Object, render
from tests.test_alerts import DASHBOARDS, RULES, alerts


def test_alerts_are_those_that_are_tested_with_the_labels_of_the_release() -> None:
    (rule,) = (item for item in rendered("everything", release="prod") if item["kind"] == "PrometheusRule")

    tested = RULES.read_text().replace('release="synergyway"', 'release="prod"')
    base = EVERYTHING["monitoring"]["rules"]["runbookBase"]
    expected = yaml.safe_load(tested.replace("runbook_url: ", f"runbook_url: {base}"))
    assert rule["spec"] == expected
    selectors = re.findall(
        r"\{([^{}]*)\}", "".join(r["expr"] for group in rule["spec"]["groups"] for r in group["rules"])
    )
    assert all(selector.startswith('namespace="synergyway",release="prod"') for selector in selectors)


@pytest.mark.parametrize(
    ("values", "left_out"),
    [
        ({}, set()),
        ({"beat": {"enabled": False}}, {"SynergyWayBeatSilent"}),
        ({"worker": {"enabled": False}}, {"SynergyWayNoWorker"}),
        ({"worker": {"keda": {"enabled": True, "minReplicas": 0}}}, {"SynergyWayNoWorker"}),
        ({"worker": {"keda": {"enabled": False, "minReplicas": 0}}}, set()),
    ],
    ids=["all", "no-beat", "no-worker", "workers-that-may-be-none", "no-autoscaler"],
)
def test_nobody_is_woken_for_what_is_away_on_purpose(values: Object, left_out: set[str]) -> None:
    (rule,) = (
        item
        for item in render(merged(GIVEN, {"monitoring": {"rules": {"enabled": True}}}, values))
        if item["kind"] == "PrometheusRule"
    )

    rendered_alerts = {r["alert"] for group in rule["spec"]["groups"] for r in group["rules"] if "alert" in r}
    assert set(alerts()) - rendered_alerts == left_out


@pytest.mark.parametrize("base", ["", "https://git.example.com/?tab=a: b#", '"https://git.example.com/'])
def test_the_runbook_may_be_at_any_address(base: str) -> None:
    rules = {"monitoring": {"rules": {"enabled": True, "runbookBase": base}}}
    (rule,) = (item for item in render(merged(GIVEN, rules)) if item["kind"] == "PrometheusRule")

    led_to = {
        r["annotations"]["runbook_url"] for group in rule["spec"]["groups"] for r in group["rules"] if "alert" in r
    }
    assert led_to == {f"{base}docs/runbook-alerts.md#{name.lower()}" for name in alerts()}


@pytest.mark.prometheus
def test_the_rendered_alerts_are_rules(tmp_path: Path) -> None:
    (rule,) = (item for item in rendered("everything", release="prod") if item["kind"] == "PrometheusRule")
    file = tmp_path / "rules.json"
    file.write_text(json.dumps(rule["spec"]))

    done = subprocess.run(["promtool", "check", "rules", str(file)], check=False, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr


def test_each_dashboard_is_a_config_map_that_the_sidecar_finds() -> None:
    maps = [
        item
        for item in rendered("everything")
        if item["kind"] == "ConfigMap" and item["metadata"]["labels"].get("grafana_dashboard") == "1"
    ]

    found = {name: json.loads(text) for item in maps for name, text in item["data"].items()}
    assert found == {file.name: json.loads(file.read_text()) for file in DASHBOARDS}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4318"}, "k8s.namespace.name=shop,synergyway.release=prod"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "team=a"}, "k8s.namespace.name=shop,synergyway.release=prod,team=a"),
    ],
    ids=["default", "with-more"],
)
def test_traces_have_the_namespace_and_the_release_that_dashboards_ask_for(given: Object, expected: str) -> None:
    manifests = render(merged(GIVEN, {"otel": given}), release="prod", namespace="shop")

    for component in ("api", "worker", "beat"):
        container = manifests.pod(component).container(component)
        assert [one["value"] for one in container["env"] if one["name"] == "OTEL_RESOURCE_ATTRIBUTES"] == [expected]


def test_what_is_scraped_has_the_release_that_dashboards_ask_for() -> None:
    monitors = [item for item in rendered("everything", release="prod") if item["kind"].endswith("Monitor")]
    ours = [item for item in monitors if item["metadata"]["labels"]["app.kubernetes.io/name"] == "synergyway"]

    assert len(ours) == 3
    for monitor in ours:
        (endpoint,) = monitor["spec"].get("endpoints") or monitor["spec"]["podMetricsEndpoints"]
        assert endpoint["relabelings"] == [{"targetLabel": "release", "replacement": "prod"}]
