"""Runs the pods of a rendered chart under Docker, as a kubelet would: command, arguments, environment, user, read-only
root, capabilities, volumes, init containers, probes and hooks are those of the pod's specification."""

import io
import re
import tarfile
import time
import urllib.error
import urllib.request
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from socket import create_connection
from uuid import uuid4

import docker
from docker.errors import APIError
from docker.models.containers import Container
from docker.models.networks import Network
from docker.models.volumes import Volume
from docker.types import Mount

from tests.charts.helm import Manifests, Object, Pod
from tests.charts.switch import CONTROL
from tests.conftest import PROJECT

_LABELS = {"synergyway.checkout": str(PROJECT)}
_DOMAIN = "svc.cluster.local"
_LOOK_SECONDS = 0.3


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """With $(NAME) replaced where NAME is known, and $$ an escaped $, as Kubernetes does in commands and values."""
    return re.sub(
        r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)",
        lambda found: "$" if found[0] == "$$" else variables.get(found[1], found[0]),
        text,
    )


def in_bytes(quantity: str | int) -> int:
    number, unit = re.fullmatch(r"([0-9.]+)([KMGT]i?|)", str(quantity)).groups()  # type: ignore[union-attr]
    power = " KMGT".index(unit[0]) if unit else 0
    return int(float(number) * (1024 if unit.endswith("i") else 1000) ** power)


@dataclass
class RunningPod:
    """A pod whose init containers have ended and whose containers run."""

    namespace: "Namespace"
    pod: Pod
    name: str
    volumes: dict[str, Volume]
    containers: dict[str, Container] = field(default_factory=dict)
    environments: dict[str, dict[str, str]] = field(default_factory=dict)
    init_logs: dict[str, str] = field(default_factory=dict)

    @property
    def main(self) -> Container:
        return next(iter(self.containers.values()))

    @property
    def ip(self) -> str:
        return _address(self.main, self.namespace)

    def log(self) -> str:
        return self.main.logs().decode(errors="replace")

    def exec(self, *command: str) -> str:
        """What ``kubectl exec`` of the command prints; an error when it fails."""
        code, output = self.main.exec_run(list(command))
        assert code == 0, f"{command} ended with {code}: {output.decode(errors='replace')}"
        return str(output.decode())

    def passes(self, probe: str) -> bool:
        """Whether all containers that have the probe pass it now."""
        return all(
            self._passes(name, spec[f"{probe}Probe"])
            for name in self.containers
            if f"{probe}Probe" in (spec := self.pod.container(name))
        )

    def _passes(self, container: str, probe: Object) -> bool:
        seconds = probe.get("timeoutSeconds", 1)
        try:
            if "exec" in probe:
                # Docker has no timeout of its own here.
                return bool(self.containers[container].exec_run(probe["exec"]["command"]).exit_code == 0)
            if "httpGet" in probe:
                http = probe["httpGet"]
                assert http.get("scheme", "HTTP") == "HTTP"
                url = f"http://{self.ip}:{self._port(container, http['port'])}{http.get('path', '/')}"
                urllib.request.urlopen(url, timeout=seconds).close()
                return True
            create_connection((self.ip, self._port(container, probe["tcpSocket"]["port"])), seconds).close()
            return True
        except (OSError, urllib.error.URLError, APIError):
            return False

    def _port(self, container: str, port: str | int) -> int:
        ports = self.pod.container(container)["ports"]
        return port if isinstance(port, int) else next(item["containerPort"] for item in ports if item["name"] == port)

    def wait_ready(self, seconds: float = 90) -> None:
        """Until it has started and is ready. A container that ends meanwhile would be a restart: an error."""
        deadline = time.monotonic() + seconds
        for probe in ("startup", "readiness"):
            while not self.passes(probe):
                self._check_running()
                assert time.monotonic() < deadline, f"{self.name} did not pass {probe} in {seconds} s:\n{self.log()}"
                time.sleep(_LOOK_SECONDS)
        assert self.passes("liveness"), f"{self.name} is ready, and not alive:\n{self.log()}"
        self._check_running()

    def _check_running(self) -> None:
        for name, container in self.containers.items():
            container.reload()
            said = container.logs().decode(errors="replace")
            assert container.status == "running", f"{self.name}/{name} has ended: {container.attrs['State']}\n{said}"

    def wait_end(self, seconds: float = 120) -> int:
        """The exit code of the first container, when it has come to its end."""
        return int(self.main.wait(timeout=seconds)["StatusCode"])

    def stop(self) -> dict[str, int]:
        """What a kubelet does at the end: pre-stop hooks, the image's stop signal, SIGKILL when the time is over.

        The exit codes by container, 137 for one that had to be killed.
        """
        deadline = time.monotonic() + self.pod.spec.get("terminationGracePeriodSeconds", 30)
        codes = {}
        for name, container in self.containers.items():
            hook = self.pod.container(name).get("lifecycle", {}).get("preStop", {})
            if "exec" in hook:
                container.exec_run(hook["exec"]["command"])
            elif "sleep" in hook:
                time.sleep(hook["sleep"]["seconds"])
            container.stop(timeout=max(2, int(deadline - time.monotonic())))
            codes[name] = int(container.wait()["StatusCode"])
        return codes

    def kill(self) -> None:
        for container in self.containers.values():
            container.kill()

    def start_again(self) -> "RunningPod":
        """The same pod anew, with its claims and empty emptyDirs, as after an eviction."""
        self.remove()
        return self.namespace.start(self.pod, self.name)

    def remove(self) -> None:
        for container in self.containers.values():
            container.remove(force=True, v=True)
        for volume in self.volumes.values():
            if not volume.name.startswith(self.namespace.claims):
                volume.remove(force=True)
        self.containers, self.volumes = {}, {}


@dataclass
class Switch:
    """A Service that can be told which pods are ready, as the endpoints controller would be."""

    namespace: "Namespace"
    container: Container
    port: int

    @property
    def url(self) -> str:
        return f"http://{_address(self.container, self.namespace)}:{self.port}"

    def lead_to(self, *pods: RunningPod) -> None:
        deadline = time.monotonic() + 20
        while True:
            try:
                with create_connection((_address(self.container, self.namespace), CONTROL), 2) as connection:
                    connection.sendall(" ".join(pod.ip for pod in pods).encode() + b"\n")
                    assert connection.recv(10) == b"ok\n"
                    return
            except OSError:
                assert time.monotonic() < deadline, self.container.logs().decode()
                time.sleep(_LOOK_SECONDS)


def _address(container: Container, namespace: "Namespace") -> str:
    container.reload()
    return str(container.attrs["NetworkSettings"]["Networks"][namespace.network.name]["IPAddress"])


class Namespace:
    """The pods of a release beside each other: a network in which Services have their names, and claims that stay."""

    def __init__(self, manifests: Manifests, name: str = "synergyway") -> None:
        self.manifests = manifests
        self.name = name
        self.id = f"charts-{uuid4().hex[:8]}"
        self.claims = f"{self.id}-claim-"
        self.client = docker.from_env(timeout=180)
        self.network: Network = self.client.networks.create(self.id, labels=_LABELS)
        self.pods: list[RunningPod] = []
        self._others: list[Container] = []
        self._made: dict[str, Volume] = {}

    def close(self) -> None:
        for pod in self.pods:
            pod.remove()
        for container in self._others:
            container.remove(force=True)
        for volume in self._made.values():
            volume.remove(force=True)
        self.network.remove()
        self.client.close()

    def start(self, pod: Pod, name: str | None = None) -> RunningPod:
        """Runs the init containers to their ends and starts the rest. name: what a controller would call the pod."""
        numbered = "-0" if pod.owner["kind"] == "StatefulSet" else f"-{uuid4().hex[:5]}"
        name = name or pod.owner["metadata"]["name"][:50] + ("" if pod.owner["kind"] == "Pod" else numbered)
        running = RunningPod(self, pod, name, self._volumes(pod, name))
        self.pods.append(running)
        for spec in pod.spec.get("initContainers", []):
            container = self._run(running, spec)
            if spec.get("restartPolicy") == "Always":
                running.containers[spec["name"]] = container
                continue
            code = container.wait()["StatusCode"]
            said = running.init_logs[spec["name"]] = container.logs().decode(errors="replace")
            container.remove(force=True, v=True)
            assert code == 0, f"{name}: the init container {spec['name']} ended with {code}:\n{said}"
        for spec in pod.spec["containers"]:
            running.containers[spec["name"]] = self._run(running, spec)
        return running

    def serve(self, service: str, image: str, *pods: RunningPod) -> "Switch":
        """Stands in for a Service whose ports are not its pods' own. image: one that has Python."""
        spec = self.manifests.get("Service", service)["spec"]
        ports = {port["port"]: self._target(pods[0].pod, port) for port in spec["ports"]}
        container = self.client.containers.run(
            image,
            [
                "python",
                "-c",
                (Path(__file__).parent / "switch.py").read_text(),
                *(f"{a}:{b}" for a, b in ports.items()),
            ],
            network=self.network.name,
            networking_config={
                self.network.name: self.client.api.create_endpoint_config(_in_domain(service, self.name))
            },
            labels=_LABELS,
            detach=True,
        )
        self._others.append(container)
        switch = Switch(self, container, next(iter(ports)))
        switch.lead_to(*pods)
        return switch

    def _run(self, running: RunningPod, spec: Object) -> Container:
        pod = running.pod
        security = pod.spec.get("securityContext", {}) | spec.get("securityContext", {})
        environment = running.environments[spec["name"]] = self.environment(pod, spec, running.name)
        memory = spec.get("resources", {}).get("limits", {}).get("memory")
        capabilities = security.get("capabilities", {})
        user = f"{security['runAsUser']}:{security.get('runAsGroup', 0)}" if "runAsUser" in security else None
        return self.client.containers.run(
            spec["image"],
            entrypoint=[expanded(word, environment) for word in spec["command"]] if "command" in spec else None,
            command=[expanded(word, environment) for word in spec["args"]] if "args" in spec else None,
            environment=environment,
            working_dir=spec.get("workingDir"),
            hostname=running.name if not running.containers else None,
            user=user,
            group_add=[security["fsGroup"]] if "fsGroup" in security else None,
            read_only=security.get("readOnlyRootFilesystem", False),
            cap_drop=capabilities.get("drop"),
            cap_add=capabilities.get("add"),
            security_opt=[] if security.get("allowPrivilegeEscalation", True) else ["no-new-privileges:true"],
            mem_limit=in_bytes(memory) if memory else None,
            mounts=[
                Mount(
                    mount["mountPath"],
                    running.volumes[mount["name"]].name,
                    type="volume",
                    read_only=mount.get("readOnly", False),
                    no_copy=True,
                )
                for mount in spec.get("volumeMounts", [])
            ],
            network=self.network.name,
            networking_config=(
                {self.network.name: self.client.api.create_endpoint_config(self._aliases(running))}
                if not running.containers
                else None
            ),
            labels=_LABELS,
            detach=True,
        )

    def _aliases(self, running: RunningPod) -> list[str]:
        """The names by which others find this pod: its own in a headless Service, and those of Services whose ports are
        the pod's. The others need a Switch."""
        names = []
        for service in self.manifests.of("Service"):
            spec, name = service["spec"], service["metadata"]["name"]
            if not spec.get("selector", {}).items() <= running.pod.labels.items():
                continue
            if spec.get("clusterIP") == "None" and running.pod.spec.get("subdomain", name) == name:
                names += _in_domain(f"{running.name}.{name}", self.name)
            if all(self._target(running.pod, port) == port["port"] for port in spec["ports"]):
                names += _in_domain(name, self.name)
        return names

    @staticmethod
    def _target(pod: Pod, port: Object) -> int:
        target = port.get("targetPort", port["port"])
        return target if isinstance(target, int) else named_ports(pod)[target]

    def environment(self, pod: Pod, spec: Object, name: str = "pod") -> dict[str, str]:
        """The variables of a container, with what ConfigMaps and Secrets hold."""
        found: dict[str, str] = {}
        for source in spec.get("envFrom", []):
            reference = source.get("configMapRef") or source["secretRef"]
            data = self.data("ConfigMap" if "configMapRef" in source else "Secret", reference["name"])
            found |= {source.get("prefix", "") + key: value for key, value in data.items()}
        for variable in spec.get("env", []):
            if "valueFrom" not in variable:
                found[variable["name"]] = expanded(str(variable.get("value", "")), found)
                continue
            source = variable["valueFrom"]
            if "fieldRef" in source:
                fields = {"metadata.name": name, "metadata.namespace": self.name, "spec.nodeName": "node"}
                found[variable["name"]] = fields[source["fieldRef"]["fieldPath"]]
            elif "resourceFieldRef" in source:
                kind, _, resource = source["resourceFieldRef"]["resource"].partition(".")
                found[variable["name"]] = str(in_bytes(spec["resources"][kind][resource]))
            else:
                kind = "ConfigMap" if "configMapKeyRef" in source else "Secret"
                reference = source.get("configMapKeyRef") or source["secretKeyRef"]
                data = self.data(kind, reference["name"])
                if reference["key"] in data or not reference.get("optional"):
                    found[variable["name"]] = data[reference["key"]]
        return found

    def data(self, kind: str, name: str) -> dict[str, str]:
        item = self.manifests.get(kind, name)
        if kind == "ConfigMap":
            return dict(item.get("data", {}))
        decoded = {key: b64decode(value).decode() for key, value in (item.get("data") or {}).items()}
        return decoded | (item.get("stringData") or {})

    # Volumes

    def _volumes(self, pod: Pod, name: str) -> dict[str, Volume]:
        group = pod.spec.get("securityContext", {}).get("fsGroup", 0)
        templates = pod.owner["spec"].get("volumeClaimTemplates", [])
        claims = {claim["metadata"]["name"]: f"{claim['metadata']['name']}-{name}" for claim in templates}
        contents: dict[str, dict[str, tuple[str, int]]] = {}
        volumes = {}
        for volume in pod.spec.get("volumes", []):
            if "persistentVolumeClaim" in volume:
                claims[volume["name"]] = volume["persistentVolumeClaim"]["claimName"]
            else:
                made = self.client.volumes.create(f"{self.id}-{uuid4().hex[:8]}", labels=_LABELS)
                volumes[volume["name"]] = made
                contents[volume["name"]] = dict(self._files(volume))
        for volume, claim in claims.items():
            if claim not in self._made:
                self._made[claim] = self.client.volumes.create(f"{self.claims}{claim}", labels=_LABELS)
                contents[volume] = {}
            volumes[volume] = self._made[claim]
        if contents:
            self._fill(pod, {name: volumes[name] for name in contents}, contents, group)
        return volumes

    def _files(self, volume: Object) -> Iterator[tuple[str, tuple[str, int]]]:
        """Path, content and mode of what a ConfigMap, a Secret or several of them put into a volume."""
        sources = volume["projected"]["sources"] if "projected" in volume else [volume]
        for source in sources:
            for key, kind, named in (("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName")):
                if key not in source:
                    continue
                reference = source[key]
                data = self.data(kind, reference.get(named) or reference["name"])
                mode = reference.get("defaultMode", 0o644)
                for item in reference.get("items") or [{"key": name, "path": name} for name in data]:
                    yield item["path"], (data[item["key"]], item.get("mode", mode))

    def _fill(
        self, pod: Pod, volumes: dict[str, Volume], contents: dict[str, dict[str, tuple[str, int]]], group: int
    ) -> None:
        """Gives the volumes their group, mode and files, through a container that never runs."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name in volumes:
                folder = tarfile.TarInfo(f"volumes/{name}")
                folder.type, folder.mode, folder.gid = tarfile.DIRTYPE, 0o2777, group
                tar.addfile(folder)
                for path, (text, mode) in contents[name].items():
                    file = tarfile.TarInfo(f"volumes/{name}/{path}")
                    content = text.encode()
                    # A kubelet lets the group read what the owner may read, the owner being root.
                    file.size, file.gid, file.mode = len(content), group, mode | (mode >> 3 & 0o040)
                    tar.addfile(file, io.BytesIO(content))
        mounts = [Mount(f"/volumes/{name}", made.name, type="volume", no_copy=True) for name, made in volumes.items()]
        helper = self.client.containers.create(pod.spec["containers"][0]["image"], mounts=mounts, labels=_LABELS)
        try:
            helper.put_archive("/", archive.getvalue())
        finally:
            helper.remove(force=True, v=True)


def named_ports(pod: Pod) -> dict[str, int]:
    return {
        port["name"]: port["containerPort"]
        for container in pod.containers
        for port in container.get("ports", [])
        if "name" in port
    }


def _in_domain(name: str, namespace: str) -> list[str]:
    return [name, f"{name}.{namespace}", f"{name}.{namespace}.svc", f"{name}.{namespace}.{_DOMAIN}"]
