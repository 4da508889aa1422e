"""Whether an object is one that Kubernetes, or the owner of a custom resource, takes."""

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

_CUSTOM = yaml.safe_load((Path(__file__).parent / "crds.yaml").read_text())


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
    try:
        if item["kind"] in _CUSTOM:
            jsonschema.validate(item, _custom(item["kind"]), jsonschema.Draft202012Validator)
        else:
            kubernetes_validate.validate(item, kube_version, strict=True)
    except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as error:
        return f"{'.'.join(str(step) for step in error.absolute_path)}: {error.message[:300]}"
    except kubernetes_validate.SchemaNotFoundError as error:
        return str(error.message)
    return ""


def _custom(kind: str) -> dict[str, Any]:
    spec = dict(_CUSTOM[kind])
    return {
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "additionalProperties": False,
        "properties": {
            "apiVersion": {"const": spec.pop("apiVersion")},
            "kind": {"const": kind},
            "metadata": {"type": "object", "required": ["name"]},
            "spec": {"type": "object", "additionalProperties": False, **spec},
        },
    }
