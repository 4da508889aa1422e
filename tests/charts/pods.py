"""A pod that runs under Docker: its probes, its hooks, its end; and the Service before it."""

import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from socket import create_connection
from typing import TYPE_CHECKING

from docker.errors import APIError
from docker.models.containers import Container
from docker.models.volumes import Volume

from tests.charts.helm import Object, Pod
from tests.charts.switch import CONTROL

if TYPE_CHECKING:
    from tests.charts.namespace import Namespace

_LOOK_SECONDS = 0.3


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
        self.namespace.volumes.remove(self.volumes)
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
