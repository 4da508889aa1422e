"""Runs the pods of a rendered chart under Docker, as a kubelet would: command, arguments, environment, user, read-only
root, capabilities, volumes, init containers, probes and hooks are those of the pod's specification."""

from pathlib import Path
from uuid import uuid4

import docker
from docker.models.containers import Container
from docker.models.networks import Network
from docker.types import Mount

from tests.charts.helm import Manifests, Object, Pod
from tests.charts.pods import RunningPod, Switch
from tests.charts.specification import Sources, expanded, in_bytes, named_ports
from tests.charts.volumes import Volumes
from tests.conftest import PROJECT

_LABELS = {"synergyway.checkout": str(PROJECT)}


class Namespace:
    """The pods of a release beside each other: a network in which Services have their names, and claims that stay."""

    def __init__(self, manifests: Manifests, name: str = "synergyway") -> None:
        self.manifests = manifests
        self.name = name
        self.id = f"charts-{uuid4().hex[:8]}"
        self.client = docker.from_env(timeout=180)
        self.network: Network = self.client.networks.create(self.id, labels=_LABELS)
        self.pods: list[RunningPod] = []
        self._others: list[Container] = []
        self.volumes = Volumes(self.client, self.id, _LABELS)

    def close(self) -> None:
        for pod in self.pods:
            pod.remove()
        for container in self._others:
            container.remove(force=True)
        self.volumes.close()
        self.network.remove()
        self.client.close()

    def start(self, pod: Pod, name: str | None = None) -> RunningPod:
        """Runs the init containers to their ends and starts the rest. name: what a controller would call the pod."""
        numbered = "-0" if pod.owner["kind"] == "StatefulSet" else f"-{uuid4().hex[:5]}"
        name = name or pod.owner["metadata"]["name"][:50] + ("" if pod.owner["kind"] == "Pod" else numbered)
        running = RunningPod(self, pod, name, self.volumes.make(pod, name, self._sources()))
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

    def _sources(self) -> Sources:
        return Sources(self.manifests, self.name)

    def _run(self, running: RunningPod, spec: Object) -> Container:
        pod = running.pod
        security = pod.spec.get("securityContext", {}) | spec.get("securityContext", {})
        environment = running.environments[spec["name"]] = self._sources().environment(spec, running.name)
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


def _in_domain(name: str, namespace: str) -> list[str]:
    return [name, f"{name}.{namespace}", f"{name}.{namespace}.svc", f"{name}.{namespace}.svc.cluster.local"]
