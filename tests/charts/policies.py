"""Who may talk to whom under a set of NetworkPolicies, as Kubernetes defines them."""

from typing import Any

from tests.charts.helm import Manifests, Object, Pod
from tests.charts.specification import named_ports


def allowed(manifests: Manifests, source: Pod, target: Pod, port: int) -> bool:
    """Whether a connection between two pods of the same namespace is let out of the one and into the other."""
    return _lets(manifests, source, "egress", "to", target, port) and _lets(
        manifests, target, "ingress", "from", source, port
    )


def leaves(manifests: Manifests, source: Pod, port: int) -> bool:
    """Whether a pod may connect to an address outside the cluster."""
    rules = _rules(manifests, source, "egress")
    return rules is None or any(
        _port_fits(rule, source, port) and ("to" not in rule or any("ipBlock" in peer for peer in rule["to"]))
        for rule in rules
    )


def enters(manifests: Manifests, target: Pod, port: int) -> bool:
    """Whether a pod without any of the chart's labels, from another namespace, may connect."""
    rules = _rules(manifests, target, "ingress")
    return rules is None or any("from" not in rule and _port_fits(rule, target, port) for rule in rules)


def _lets(manifests: Manifests, pod: Pod, direction: str, peers: str, other: Pod, port: int) -> bool:
    rules = _rules(manifests, pod, direction)
    if rules is None:
        return True
    owner = other if direction == "egress" else pod
    return any(
        _port_fits(rule, owner, port) and (peers not in rule or any(_selects(peer, other) for peer in rule[peers]))
        for rule in rules
    )


def _rules(manifests: Manifests, pod: Pod, direction: str) -> list[Object] | None:
    """The rules for a pod; None when no policy is about it in this direction."""
    about = [
        policy["spec"]
        for policy in manifests.of("NetworkPolicy")
        if _labels_fit(policy["spec"]["podSelector"], pod) and direction.capitalize() in policy["spec"]["policyTypes"]
    ]
    return [rule for spec in about for rule in spec.get(direction, [])] if about else None


def _selects(peer: Object, pod: Pod) -> bool:
    return "podSelector" in peer and "namespaceSelector" not in peer and _labels_fit(peer["podSelector"], pod)


def _labels_fit(selector: Object, pod: Pod) -> bool:
    if not selector.get("matchLabels", {}).items() <= pod.labels.items():
        return False
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In"
        if pod.labels.get(expression["key"]) not in expression["values"]:
            return False
    return True


def _port_fits(rule: Object, owner: Pod, port: int) -> bool:
    ports: list[Any] = rule.get("ports", [])
    return not ports or any(
        item.get("protocol", "TCP") == "TCP" and named_ports(owner).get(item["port"], item["port"]) == port
        for item in ports
    )
