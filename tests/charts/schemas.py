"""Whether an object is one that Kubernetes, or the owner of a custom resource, takes."""

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate

_CUSTOM = Path(__file__).parent / "crds"


def faults(objects: Iterable[dict[str, Any]], kube_version: str) -> list[str]:
    """What is wrong with the objects for this version of Kubernetes, in strict mode: no unknown field either."""
    found = []
    for item in objects:
        fault = _fault(json.dumps(item, sort_keys=True), kube_version)
        if fault:
            found.append(f"{item['kind']}/{item['metadata']['name']}: {fault}")
    return found


@cache
def _fault(text: str, kube_version: str) -> str:
    item = json.loads(text)
    group = item["apiVersion"].partition("/")[0]
    custom = _CUSTOM / f"{item['kind'].lower()}.json"
    try:
        # The groups of Kubernetes itself have one word or end in .k8s.io; Gateway API ends so too and is not in it.
        if custom.exists():
            schema = json.loads(custom.read_text())
            assert schema["x-api-version"] == item["apiVersion"], f"{item['apiVersion']} is not the version served"
            jsonschema.validate(item, schema, jsonschema.Draft202012Validator)
        else:
            assert "." not in group or group.endswith(".k8s.io"), f"no schema of {item['apiVersion']} {item['kind']}"
            kubernetes_validate.validate(item, kube_version, strict=True)
    except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as error:
        return f"{'.'.join(str(step) for step in error.absolute_path)}: {error.message[:300]}"
    except kubernetes_validate.SchemaNotFoundError as error:
        return str(error.message)
    return ""
