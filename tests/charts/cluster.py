"""The API of Kubernetes as far as Helm needs it, in memory: what is installed is kept, nothing runs.

``lookup`` finds what is there, hooks end at once, and what a real API server would not let be changed is refused. So
installs, upgrades, rollbacks and uninstalls can be tested one after another where no cluster is at hand.
"""

import json
import re
import threading
from base64 import b64decode
from copy import deepcopy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from tests.charts import helm
from tests.charts.helm import CHART, NEWEST, Object
from tests.charts.wire import parsed

_KINDS = {
    "v1": "ConfigMap Secret Service ServiceAccount Pod PersistentVolumeClaim Namespace",
    "apps/v1": "Deployment StatefulSet ReplicaSet",
    "batch/v1": "Job CronJob",
    "policy/v1": "PodDisruptionBudget",
    "autoscaling/v2": "HorizontalPodAutoscaler",
    "networking.k8s.io/v1": "NetworkPolicy Ingress",
    "gateway.networking.k8s.io/v1": "HTTPRoute",
    "monitoring.coreos.com/v1": "ServiceMonitor PodMonitor PrometheusRule",
    "keda.sh/v1alpha1": "ScaledObject TriggerAuthentication",
}
_PATH = re.compile(
    r"/(?:api/(?P<core>v1)|apis/(?P<group>[^/]+/[^/]+))(?:/namespaces/(?P<namespace>[^/]+))?/(?P<plural>[a-z]+)"
    r"(?:/(?P<name>[^/]+))?$"
)
# What a real API server lets nobody change.
_IMMUTABLE = {
    "jobs": [("spec", "template"), ("spec", "selector"), ("spec", "completions")],
    "deployments": [("spec", "selector")],
    "statefulsets": [
        ("spec", "selector"),
        ("spec", "serviceName"),
        ("spec", "volumeClaimTemplates"),
        ("spec", "podManagementPolicy"),
    ],
    "services": [("spec", "clusterIP")],
}


def _plural(kind: str) -> str:
    text = kind.lower()
    return text[:-1] + "ies" if text.endswith("y") else text + ("es" if text.endswith("s") else "s")


def _merged(old: Any, patch: Any) -> Any:
    """RFC 7396. Lists are replaced, which is enough here: the chart's own lists have nobody else's items."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif not key.startswith("$"):
            merged[key] = _merged(merged.get(key), value)
    return merged


class Cluster:
    """An API server at ``url``, empty but for its namespaces; ``changes`` are the patches that changed anything."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.changes: list[tuple[str, Object]] = []
        self._lock = threading.RLock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def helm(self, *arguments: str, values: Object | None = None, binary: str = "helm") -> str:
        """What a Helm command prints. Raises Refused with what Helm says."""
        command = list(arguments)
        if values is not None:
            command += ["--values", "-"]
        environment = {"HELM_KUBEAPISERVER": self.url, "KUBECONFIG": "", "HELM_NAMESPACE": "synergyway"}
        return helm.run(command, json.dumps(values or {}), helm=binary, **environment)

    def install(self, release: str = "sw", values: Object | None = None, binary: str = "helm") -> str:
        return self._apply("install", release, values, binary)

    def upgrade(self, release: str = "sw", values: Object | None = None, binary: str = "helm") -> str:
        return self._apply("upgrade", release, values, binary)

    def _apply(self, verb: str, release: str, values: Object | None, binary: str) -> str:
        # The schemas are checked elsewhere, against three versions; here there is no description of the API to ask.
        return self.helm(verb, release, str(CHART), "--disable-openapi-validation", values=values or {}, binary=binary)

    def of(self, kind: str) -> dict[str, Object]:
        """The objects of a kind by their names, without Helm's own records."""
        with self._lock:
            return {
                name: deepcopy(item)
                for (plural, _, name), item in self.objects.items()
                if plural == _plural(kind) and item.get("type") != "helm.sh/release.v1"
            }

    def all(self) -> dict[str, Object]:
        """All objects of the releases, without what an API server notes in them."""
        kinds = [kind for kinds in _KINDS.values() for kind in kinds.split() if kind != "Namespace"]
        found = {f"{kind}/{name}": item for kind in kinds for name, item in self.of(kind).items()}
        for item in found.values():
            for noted in ("uid", "resourceVersion", "creationTimestamp", "managedFields"):
                item["metadata"].pop(noted, None)
        return found

    def create(self, kind: str, name: str) -> None:
        """Something that a controller, or an operator by hand, has made."""
        with self._lock:
            self._create(_plural(kind), "synergyway", {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}})

    def secret(self, name: str) -> dict[str, str]:
        return {key: b64decode(value).decode() for key, value in self.of("Secret")[name].get("data", {}).items()}

    # What HTTP asks for.

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, Object]:
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        with self._lock:
            if found := _PATH.match(parts.path):
                plural, name = found["plural"], found["name"]
                if not plural.endswith("s"):
                    return _status(404, f"no {plural}")
                api_version = found["core"] or found["group"]
                return self._resource(method, api_version, plural, found["namespace"] or "", name, query, body)
            return _discover(parts.path)

    def _resource(
        self, method: str, api: str, plural: str, namespace: str, name: str | None, query: dict[str, str], body: bytes
    ) -> tuple[int, Object]:
        kind = next((kind for kind in _KINDS.get(api, "").split() if _plural(kind) == plural), None)
        if kind is None:
            return _status(404, "the server could not find the requested resource")
        if kind == "Namespace":
            return 200, {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "status": {"phase": "Active"}}
        key = (plural, namespace, name or "")
        if method == "POST":
            return self._create(plural, namespace, parsed(body))
        if name is None:
            if method == "DELETE":
                return _status(405, "not here")
            items = [deepcopy(item) for item in self.objects.values() if _selected(item, plural, kind, query)]
            items = [item for item in items if item["metadata"]["namespace"] == namespace]
            return 200, {"apiVersion": api, "kind": f"{kind}List", "metadata": {"resourceVersion": "1"}, "items": items}
        if method == "PATCH" and "apply" in query.get("fieldManager", "") and key not in self.objects:
            return self._create(plural, namespace, parsed(body))
        if key not in self.objects:
            if method == "PATCH" and query.get("fieldManager"):
                return self._create(plural, namespace, parsed(body))
            return _status(404, f'{plural} "{name}" not found', "NotFound")
        if method == "GET":
            return 200, deepcopy(self.objects[key])
        if method == "DELETE":
            return 200, self.objects.pop(key)
        return self._change(method, key, parsed(body))

    def _create(self, plural: str, namespace: str, item: Object) -> tuple[int, Object]:
        key = (plural, namespace, item["metadata"]["name"])
        if key in self.objects:
            return _status(409, f'{plural} "{key[2]}" already exists', "AlreadyExists")
        item["metadata"] |= {"namespace": namespace, "uid": str(uuid4()), "resourceVersion": "1"}
        # The ends of things that end: nothing runs here.
        if item["kind"] == "Job":
            item["status"] = {"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]}
        if item["kind"] == "Pod":
            item["status"] = {"phase": "Succeeded"}
        self.objects[key] = item
        return 201, deepcopy(item)

    def _change(self, method: str, key: tuple[str, str, str], body: Object) -> tuple[int, Object]:
        old = self.objects[key]
        new = deepcopy(body) if method == "PUT" else _merged(old, body)
        new["metadata"] = old["metadata"] | new["metadata"]
        for path in _IMMUTABLE.get(key[0], []):
            if _at(old, path) != _at(new, path) and _at(new, path) is not None:
                return _status(422, f'{key[0]} "{key[2]}" is invalid: {".".join(path)}: field is immutable', "Invalid")
        if old.get("type") != "helm.sh/release.v1" and old != new:
            self.changes.append((f"{key[0]}/{key[2]}", body))
        self.objects[key] = new
        return 200, deepcopy(new)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if "watch=true" in self.path or "watch=1" in self.path:
                    return self._watch()
                if self.path.startswith("/openapi/v2"):
                    # A description of nothing, which leaves nothing to be checked against it.
                    return self._send(200, b"", "application/com.github.proto-openapi.spec.v2.v1.0+protobuf")
                status, answer = cluster.answer(self.command, self.path, body)
                return self._send(status, json.dumps(answer).encode())

            def _watch(self) -> None:
                """Says what is there, and then no more: everything is at its end from the beginning."""
                target = re.sub(r"watch=(true|1)", "", self.path)
                _, listed = cluster.answer("GET", target, b"")
                lines = [json.dumps({"type": "ADDED", "object": item}) + "\n" for item in listed.get("items", [])]
                self._send(200, "".join(lines).encode())

            def _send(self, status: int, content: bytes, content_type: str = "application/json") -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815  # names of the base class

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


def unchangeable(item: Object) -> list[Any]:
    """What nobody may change in an object of this kind, once it is there."""
    return [_at(item, path) for path in _IMMUTABLE.get(_plural(item["kind"]), [])]


def _at(item: Object, path: tuple[str, ...]) -> Any:
    for step in path:
        item = (item or {}).get(step)
    return item


def _selected(item: Object, plural: str, kind: str, query: dict[str, str]) -> bool:
    if item["kind"] != kind:
        return False
    labels, name = item["metadata"].get("labels") or {}, item["metadata"]["name"]
    for term in filter(None, query.get("labelSelector", "").split(",")):
        label, _, value = term.replace("==", "=").partition("=")
        if label.endswith("!") and labels.get(label[:-1]) == value:
            return False
        if not label.endswith("!") and labels.get(label) != value:
            return False
    wanted = re.search(r"metadata\.name=([^,]+)", query.get("fieldSelector", ""))
    return wanted is None or wanted[1] == name


def _status(code: int, message: str, reason: str = "") -> tuple[int, Object]:
    return code, {
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Failure",
        "message": message,
        "reason": reason or "NotFound",
        "code": code,
    }


def _discover(path: str) -> tuple[int, Object]:
    if path == "/version":
        return 200, {"major": "1", "minor": NEWEST.partition(".")[2], "gitVersion": f"v{NEWEST}.0"}
    if path == "/api":
        return 200, {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        groups = []
        for api_version in _KINDS:
            group, _, version = api_version.rpartition("/")
            if group:
                served = {"groupVersion": api_version, "version": version}
                groups.append({"name": group, "versions": [served], "preferredVersion": served})
        return 200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    api_version = path.removeprefix("/apis/").removeprefix("/api/")
    if api_version not in _KINDS:
        return _status(404, f"nothing is at {path}")
    verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
    resources = [
        {"name": _plural(kind), "kind": kind, "namespaced": kind != "Namespace", "verbs": verbs}
        for kind in _KINDS[api_version].split()
    ]
    return 200, {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": resources}
