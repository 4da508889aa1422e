"""Renders the chart as Helm does, and hands out the objects."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import PROJECT

CHART = PROJECT / "charts" / "synergyway"
NEWEST = "1.36"
KUBERNETES = ("1.30", "1.33", NEWEST)
_TOOLS = PROJECT / ".venv" / "helm"

Object = dict[str, Any]


def find_helm(name: str = "helm") -> Path | None:
    """The Helm that `make` has put there (``helm``, ``oldest``, ``newest``); else, for ``helm``, the machine's own."""
    installed = _TOOLS / name
    if installed.exists():
        return installed
    own = shutil.which("helm") if name == "helm" else None
    return Path(own) if own else None


class Refused(Exception):
    """The chart did not render: what Helm said."""

    def __str__(self) -> str:
        return str(self.args[0])


class _Loader(yaml.CSafeLoader):
    """Refuses a key that is there twice, as server-side apply does."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        assert len(keys) == len(set(keys)), f"a key is there twice: {keys}"
        return super().construct_mapping(node, deep)


@dataclass(frozen=True)
class Pod:
    """A pod that an object of the chart makes."""

    owner: Object
    metadata: Object
    spec: Object

    @property
    def name(self) -> str:
        return f"{self.owner['kind']}/{self.owner['metadata']['name']}"

    @property
    def labels(self) -> dict[str, str]:
        return self.metadata.get("labels", {})

    @property
    def containers(self) -> list[Object]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    def container(self, name: str) -> Object:
        (found,) = [container for container in self.containers if container["name"] == name]
        return found


class Manifests(list[Object]):
    """The objects of a render, hooks and tests included."""

    def of(self, kind: str) -> list[Object]:
        return [item for item in self if item["kind"] == kind]

    def names(self, kind: str) -> set[str]:
        return {item["metadata"]["name"] for item in self.of(kind)}

    def get(self, kind: str, name: str) -> Object:
        """name: the whole name, or how it ends or begins when one object alone does so."""
        found = [item for item in self.of(kind) if item["metadata"]["name"] == name]
        found = found or [item for item in self.of(kind) if item["metadata"]["name"].endswith(f"-{name}")]
        assert len(found) == 1, f"{len(found)} x {kind} {name} among {sorted(self.names(kind))}"
        return found[0]

    def pods(self) -> Iterator[Pod]:
        for item in self:
            if item["kind"] == "Pod":
                yield Pod(item, item["metadata"], item["spec"])
            elif item["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job", "ReplicaSet"):
                template = item["spec"]["template"]
                yield Pod(item, template["metadata"], template["spec"])
            elif item["kind"] == "CronJob":
                template = item["spec"]["jobTemplate"]["spec"]["template"]
                yield Pod(item, template["metadata"], template["spec"])

    def pod(self, component: str) -> Pod:
        """The long-running pods of a component (api, worker, ..., postgresql, rabbitmq)."""
        owners = [self.of(kind) for kind in ("Deployment", "StatefulSet")]
        (found,) = [
            pod
            for pod in Manifests(owners[0] + owners[1]).pods()
            if pod.owner["metadata"]["name"].endswith(f"-{component}")
        ]
        return found

    def migration(self) -> Object:
        (found,) = [job for job in self.of("Job") if "-migrate" in job["metadata"]["name"]]
        return found


def render(
    values: Mapping[str, Any] | None = None,
    *,
    files: tuple[str, ...] = (),
    release: str = "sw",
    namespace: str = "synergyway",
    kube_version: str = NEWEST,
    api_versions: tuple[str, ...] = (),
    helm: str = "helm",
) -> Manifests:
    """What ``helm template`` makes of the values. Raises Refused with what Helm says.

    files: names of values files of the chart, which the values override.
    """
    text = _template(json.dumps(values or {}), files, release, namespace, kube_version, api_versions, helm)
    # Parsed anew, so that a test may change what it has got.
    return Manifests(item for item in yaml.load_all(text, _Loader) if item)  # a safe loader


@lru_cache(maxsize=512)
def _template(
    values: str,
    files: tuple[str, ...],
    release: str,
    namespace: str,
    kube_version: str,
    api_versions: tuple[str, ...],
    helm: str,
) -> str:
    command = ["template", release, str(CHART), "--namespace", namespace, "--kube-version", kube_version]
    for file in files:
        command += ["--values", str(CHART / file)]
    for version in api_versions:
        command += ["--api-versions", version]
    return run([*command, "--values", "-"], values, helm=helm)


def run(command: list[str], stdin: str = "", *, helm: str = "helm", **variables: str) -> str:
    """What a Helm command prints. Raises Refused with what it says when it fails."""
    binary = find_helm(helm)
    assert binary, f"no {helm}: `make test` brings it"
    done = subprocess.run(
        [str(binary), *command],
        input=stdin,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if done.returncode:
        raise Refused(_sentence(done.stderr))
    return done.stdout


def _sentence(said: str) -> str:
    """What a template's ``fail`` says, without the place where it says it."""
    text = re.sub(r"\s+", " ", said).strip()
    text = re.sub(r"^.*(error calling fail|execution error at \([^)]*\)): ", "", text)
    return text.removesuffix(" Use --debug flag to render out invalid YAML")
