"""The alerts: each is checked, tested to fire and not to fire, and has a section in the runbook."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import PROJECT

FILES = PROJECT / "charts/synergyway/files"
RULES = FILES / "alerts/synergyway.yaml"
TESTS = PROJECT / "tests/alerts/synergyway.test.yaml"
DASHBOARDS = sorted((FILES / "dashboards").glob("*.json"))


def alerts() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def promtool(*arguments: str) -> None:
    done = subprocess.run(["promtool", *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.prometheus
def test_the_rules_are_rules() -> None:
    promtool("check", "rules", str(RULES))


@pytest.mark.prometheus
def test_each_alert_fires_when_it_should_and_not_when_it_should_not() -> None:
    promtool("test", "rules", str(TESTS))


@pytest.mark.prometheus
def test_the_configuration_of_make_observe_is_one() -> None:
    promtool("check", "config", "--syntax-only", str(PROJECT / "observe/prometheus.yml"))


def test_each_alert_is_among_the_tests() -> None:
    expected = set(re.findall(r'alertname="(\w+)"', TESTS.read_text()))

    assert expected == set(alerts())


@pytest.mark.parametrize("alert", alerts())
def test_each_alert_has_a_section_in_the_runbook(alert: str) -> None:
    runbook = (PROJECT / "docs/runbook-alerts.md").read_text()

    assert f"\n## {alert}\n" in runbook
    assert alerts()[alert]["annotations"]["runbook_url"] == f"docs/runbook-alerts.md#{alert.lower()}"
    assert alerts()[alert]["labels"]["severity"] in ("warning", "critical")


def test_the_rules_are_of_one_release() -> None:
    """The chart puts its own labels in the place of these; a metric without them would be every release's."""
    selectors = re.findall(r"\{([^{}]*)\}", "".join(rule["expr"] for rule in alerts().values()))

    assert selectors
    assert all(selector.startswith('namespace="synergyway",release="synergyway"') for selector in selectors)


@pytest.mark.prometheus
def test_the_overview_shows_what_is_fresh_what_is_stale_and_what_never_succeeded(tmp_path: Path) -> None:
    (board,) = [json.loads(path.read_text()) for path in DASHBOARDS if path.stem == "synergyway-overview"]
    (panel,) = [panel for panel in board["panels"] if panel["title"] == "Since the last success"]
    (target,) = panel["targets"]
    here = 'namespace="synergyway",release="synergyway"'
    successes = {"sync_users": 3_000, "enrich_missing_addresses": 1_000, "enrich_missing_cards": 0}
    series = [
        {"series": f'{name}{{{here},task="{task}"}}', "values": f"{value}x100"}
        for task, success in successes.items()
        for name, value in (
            ("synergyway_last_success_timestamp_seconds", success),
            ("synergyway_stale_after_seconds", 3_600),
        )
    ]
    expected = [
        {"labels": '{task="sync_users"}', "value": 2_400},
        {"labels": '{task="enrich_missing_addresses",state=" is stale"}', "value": 4_400},
        {"labels": '{task="enrich_missing_cards",state=" has not succeeded"}', "value": -1},
    ]
    asked = {"expr": target["expr"].replace('namespace="$namespace",release="$release"', here), "eval_time": "90m"}
    file = tmp_path / "panel.test.json"  # JSON is YAML
    test = {"interval": "1m", "input_series": series, "promql_expr_test": [asked | {"exp_samples": expected}]}
    file.write_text(json.dumps({"rule_files": [], "tests": [test]}))

    promtool("test", "rules", str(file))

    assert target["legendFormat"] == "{{task}}{{state}}"
    (mapping,) = panel["fieldConfig"]["defaults"]["mappings"]
    assert (mapping["options"]["-1"]["text"], mapping["options"]["-1"]["color"]) == ("never", "red")
    (override,) = panel["fieldConfig"]["overrides"]
    pattern = override["matcher"]["options"].strip("/")
    assert [bool(re.search(pattern, f"x{state}")) for state in ("", " is stale", " has not succeeded")] == [0, 1, 1]


def test_the_celery_dashboard_shows_each_worker_s_pool() -> None:
    (board,) = [json.loads(path.read_text()) for path in DASHBOARDS if path.stem == "synergyway-celery"]
    (panel,) = [panel for panel in board["panels"] if panel["title"] == "Pools by worker"]

    for target in panel["targets"]:
        assert target["expr"].startswith("sum by (instance) (")
        assert "{{instance}}" in target["legendFormat"]


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboards_have_their_variables_and_links(dashboard: Path) -> None:
    board = json.loads(dashboard.read_text())
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]

    assert board["uid"] == dashboard.stem
    assert [variable["name"] for variable in board["templating"]["list"]] == [
        "datasource",
        "tempo",
        "loki",
        "namespace",
        "release",
    ]
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in panels:
        assert panel["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            assert 'namespace="$namespace",release="$release"' in target["expr"]
    links = [link["url"] for panel in panels for link in panel["fieldConfig"]["defaults"]["links"]]
    assert any("${tempo}" in url for url in links)
    assert any("${loki}" in url for url in links)
    for url in links:
        if "${tempo}" in url:
            # A service's name may be chosen; what is of another release is not what the panel shows.
            assert "resource.service.name" not in url
            assert 'resource.synergyway.role = \\"' in url
            assert (
                'resource.k8s.namespace.name = \\"$namespace\\" && resource.synergyway.release = \\"$release\\"' in url
            )
    # Two panels that overlap hide each other.
    places = [
        (x, y)
        for box in (panel["gridPos"] for panel in board["panels"])
        for x in range(box["x"], box["x"] + box["w"])
        for y in range(box["y"], box["y"] + box["h"])
    ]
    assert len(places) == len(set(places))
