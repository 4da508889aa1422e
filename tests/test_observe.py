"""What `make observe` and the add-ons start beside the service: their files name each other, and the names hold."""

import json
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.conftest import PROJECT
from tests.test_alerts import DASHBOARDS

ADDONS = PROJECT / "k8s/addons"


def read(path: str) -> Any:
    return yaml.safe_load((PROJECT / path).read_text())


OBSERVE = read("compose.observe.yml")["services"]
DATASOURCES = {source["uid"]: source for source in read("observe/grafana/datasources.yml")["datasources"]}
COLLECTORS = {
    "observe": read("observe/collector.yml"),
    "addon": read("k8s/addons/otel-collector.yaml")["alternateConfig"],
}


def default(text: str) -> str:
    """What Compose makes of it when no variable is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def mounts(service: str) -> dict[str, Path]:
    """Where the service finds what of the project."""
    pairs = (volume.split(":")[:2] for volume in OBSERVE[service]["volumes"] if volume.startswith("./"))
    return {inside: PROJECT / outside for outside, inside in pairs}


def values(tree: Any, key: str) -> list[Any]:
    """The values of this key, however deep."""
    if isinstance(tree, dict):
        return [found for name, value in tree.items() for found in ([value] if name == key else values(value, key))]
    return [found for value in tree for found in values(value, key)] if isinstance(tree, list) else []


@pytest.mark.parametrize("service", [name for name in OBSERVE if "volumes" in OBSERVE[name]])
def test_what_is_mounted_is_there_and_is_what_the_command_names(service: str) -> None:
    mounted = mounts(service)

    assert all(path.exists() for path in mounted.values())
    named = [part.partition("=")[2] for part in OBSERVE[service].get("command", []) if "config" in part]
    assert [name for name in named if name not in mounted] == []


@pytest.mark.parametrize("name", COLLECTORS)
def test_a_collector_s_pipelines_are_of_parts_that_it_has(name: str) -> None:
    collector = COLLECTORS[name]
    pipelines = collector["service"]["pipelines"]

    for kind in ("receivers", "processors", "exporters"):
        assert {part for pipeline in pipelines.values() for part in pipeline[kind]} == set(collector[kind])
    # A flood of spans is refused before anything is done with it.
    assert {pipeline["processors"][0] for pipeline in pipelines.values()} == {"memory_limiter"}


def test_roles_send_their_traces_and_log_lines_to_where_the_collector_listens() -> None:
    receivers = COLLECTORS["observe"]["receivers"]
    (published,) = OBSERVE["collector"]["ports"]
    for role in ("api", "worker", "beat"):
        endpoint = urlsplit(default(OBSERVE[role]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"]))
        assert endpoint.hostname in OBSERVE
        assert receivers["otlp"]["protocols"]["http"]["endpoint"].endswith(f":{endpoint.port}")
        logs = default(OBSERVE[role]["logging"]["options"]["fluentd-address"])
        assert default(published) == f"{logs}:{receivers['fluentforward']['endpoint'].rpartition(':')[2]}"


def test_traces_have_the_attributes_that_the_dashboards_links_ask_for() -> None:
    relabelled = read("observe/prometheus.yml")["scrape_configs"][0]["relabel_configs"]
    labels = {one["target_label"]: one["replacement"] for one in relabelled}
    for role in ("api", "worker", "beat"):
        attributes = OBSERVE[role]["environment"]["OTEL_RESOURCE_ATTRIBUTES"]
        assert default(attributes).split(",")[:2] == [
            f"k8s.namespace.name={labels['namespace']}",
            f"synergyway.release={labels['release']}",
        ]


def test_the_collector_sends_to_where_tempo_and_loki_listen() -> None:
    exporters = COLLECTORS["observe"]["exporters"]
    tempo, loki = read("observe/tempo.yml"), read("observe/loki.yml")
    (listens,) = values(tempo["distributor"], "endpoint")

    assert exporters["otlp/tempo"]["endpoint"] == f"tempo:{listens.rpartition(':')[2]}"
    assert exporters["otlphttp/loki"]["endpoint"] == f"http://loki:{loki['server']['http_listen_port']}/otlp"
    # The dashboards ask for lines by this label.
    (attribute,) = COLLECTORS["observe"]["processors"]["resource"]["attributes"]
    assert [attribute["key"]] in values(loki, "attributes")
    assert all(
        f'{{{attribute["key"]}=\\"$namespace\\"}}' in path.read_text().replace("\\\\\\", "\\") for path in DASHBOARDS
    )


def test_grafana_s_data_sources_are_services_and_lead_to_each_other() -> None:
    listens = {
        "prometheus": 9090,
        "tempo": read("observe/tempo.yml")["server"]["http_listen_port"],
        "loki": read("observe/loki.yml")["server"]["http_listen_port"],
    }

    assert {urlsplit(s["url"]).hostname: urlsplit(s["url"]).port for s in DATASOURCES.values()} == listens
    assert set(values(list(DATASOURCES.values()), "datasourceUid")) == {"tempo", "loki"}
    (exemplars,) = DATASOURCES["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert (exemplars["name"], exemplars["datasourceUid"]) == ("trace_id", "tempo")
    assert DATASOURCES["tempo"]["jsonData"]["tracesToLogsV2"]["datasourceUid"] == "loki"
    (derived,) = DATASOURCES["loki"]["jsonData"]["derivedFields"]
    assert derived["datasourceUid"] == "tempo"
    line = json.dumps({"message": "it is done", "trace_id": "0af7651916cd43dd8448eb211c80319c"})
    assert re.search(derived["matcherRegex"], line)[1] == "0af7651916cd43dd8448eb211c80319c"  # type: ignore[index]


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboards_name_no_data_source_that_is_not_there(dashboard: Path) -> None:
    board = json.loads(dashboard.read_text())
    chosen = [variable for variable in board["templating"]["list"] if variable["type"] == "datasource"]

    assert {variable["query"] for variable in chosen} == {source["type"] for source in DATASOURCES.values()}
    assert set(values(board, "uid")) <= {board["uid"], "${datasource}"}
    links = [link["url"] for panel in board["panels"] for link in values(panel, "links") for link in link]
    assert {name for url in links for name in re.findall(r"\$\{(\w+)\}", url)} <= {
        *(variable["name"] for variable in board["templating"]["list"]),
        "__from",
        "__to",
    }


def test_prometheus_scrapes_the_roles_reads_the_alerts_and_keeps_exemplars() -> None:
    config = read("observe/prometheus.yml")
    ((job,),) = (config["scrape_configs"],)
    (found,) = job["dns_sd_configs"]
    (pattern,) = config["rule_files"]
    alerts = mounts("prometheus")[str(Path(pattern).parent)]

    assert set(found["names"]) == {"api", "worker", "beat"} <= set(read("docker-compose.yml")["services"])
    assert [file.name for file in alerts.iterdir() if fnmatch(file.name, Path(pattern).name)] == ["synergyway.yaml"]
    assert "--enable-feature=exemplar-storage" in OBSERVE["prometheus"]["command"]


def test_the_dashboards_of_grafana_are_the_chart_s() -> None:
    (provider,) = read("observe/grafana/dashboards.yml")["providers"]
    home = Path(OBSERVE["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])

    assert sorted(mounts("grafana")[provider["options"]["path"]].glob("*.json")) == DASHBOARDS
    assert mounts("grafana")[str(home.parent)] / home.name in DASHBOARDS


def test_the_add_ons_find_what_the_chart_leaves_for_them() -> None:
    stack, chart = read("k8s/addons/kube-prometheus-stack.yaml"), read("charts/synergyway/values.yaml")
    sidecar = stack["grafana"]["sidecar"]
    (tempo,) = stack["grafana"]["additionalDataSources"]

    assert list(chart["monitoring"]["dashboards"]["labels"]) == [sidecar["dashboards"]["label"]]
    assert sidecar["datasources"]["exemplarTraceIdDestinations"] == {
        "datasourceUid": tempo["uid"],
        "traceIdLabelName": "trace_id",
    }
    assert "exemplar-storage" in stack["prometheus"]["prometheusSpec"]["enableFeatures"]
    assert COLLECTORS["addon"]["exporters"]["otlp/tempo"]["endpoint"].split(":")[0] == urlsplit(tempo["url"]).hostname


@pytest.mark.parametrize("addon", sorted(ADDONS.glob("*.yaml")), ids=lambda path: path.stem)
def test_an_add_on_says_how_it_is_installed_with_the_version_that_it_is_written_for(addon: Path) -> None:
    text = addon.read_text()
    first = re.match(r"# (\S+) (\d+\.\d+\.\d+): ", text)

    assert first
    assert f"--version {first[2]} " in text
    assert f"--values k8s/addons/{addon.name}" in text
    assert isinstance(yaml.safe_load(text), dict)


def test_compose_and_cluster_run_the_same_collector() -> None:
    image = read("k8s/addons/otel-collector.yaml")["image"]

    assert default(OBSERVE["collector"]["image"]) == f"{image['repository']}:{image['tag']}"
