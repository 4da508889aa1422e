"""What a pod's specification means: variables, quantities, ports, and what ConfigMaps and Secrets put where."""

import re
from base64 import b64decode
from collections.abc import Iterator, Mapping

from tests.charts.helm import Manifests, Object, Pod


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


def named_ports(pod: Pod) -> dict[str, int]:
    return {
        port["name"]: port["containerPort"]
        for container in pod.containers
        for port in container.get("ports", [])
        if "name" in port
    }


class Sources:
    """The ConfigMaps and Secrets of a release, and what a container gets of them."""

    def __init__(self, manifests: Manifests, namespace: str) -> None:
        self._manifests = manifests
        self._namespace = namespace

    def environment(self, spec: Object, name: str) -> dict[str, str]:
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
                fields = {"metadata.name": name, "metadata.namespace": self._namespace, "spec.nodeName": "node"}
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
        item = self._manifests.get(kind, name)
        if kind == "ConfigMap":
            return dict(item.get("data", {}))
        decoded = {key: b64decode(value).decode() for key, value in (item.get("data") or {}).items()}
        return decoded | (item.get("stringData") or {})

    def files(self, volume: Object) -> Iterator[tuple[str, tuple[str, int]]]:
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
