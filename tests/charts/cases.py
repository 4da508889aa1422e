"""Values that between them switch every option of the chart on and off."""

import json

from tests.charts.helm import CHART, Manifests, Object, render

TOKEN = "0123456789abcdef" * 2
DIGEST = "sha256:" + "0123456789abcdef" * 4
SOURCES = {
    "USERS_API_URL": "https://users.example.com/users",
    "ADDRESS_API_URL": "https://addresses.example.com/v2",
    "CREDIT_CARD_API_URL": "https://cards.example.com/v2",
}
EXTERNAL: Object = {
    "secrets": {"generate": False},
    "postgresql": {"enabled": False},
    "externalDatabase": {"url": "postgresql://service:p%40ss@db.example.com:5432/synergyway"},
    "rabbitmq": {"enabled": False},
    "externalBroker": {"url": "amqps://service:p%40ss@mq.example.com:5671//"},
}
# Passwords from values: what a render without a cluster needs to be the same each time.
GIVEN: Object = {
    "secrets": {"generate": False},
    "postgresql": {"auth": {"password": "pg p@ss/w:rd'\"\\%$&"}},
    "rabbitmq": {"auth": {"password": "mq p@ss/w:rd'\"\\%$&", "erlangCookie": "a-cookie-of-the-tests"}},
}

_COMPONENTS = ("api", "worker", "beat", "dummyjson", "flower")


def _everything_of(component: str) -> Object:
    """What each component takes beside its own."""
    return {
        "podAnnotations": {"example.com/note": "a"},
        "podLabels": {"example.com/team": "b"},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "spot", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {
            "nodeAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "weight": 1,
                        "preference": {"matchExpressions": [{"key": "karpenter.sh/nodepool", "operator": "Exists"}]},
                    }
                ]
            }
        },
        "topologySpread": {"zone": "DoNotSchedule", "host": "ScheduleAnyway"},
        "priorityClassName": "important",
        "serviceAccount": {
            "annotations": {"eks.amazonaws.com/role-arn": f"arn:aws:iam::111122223333:role/{component}"}
        },
        "extraEnv": [
            {"name": "LOG_LEVEL", "value": "DEBUG"},
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        ],
        "extraEnvFrom": [{"secretRef": {"name": "more", "optional": True}}],
        "extraVolumes": [{"name": "more", "configMap": {"name": "more", "optional": True}}],
        "extraVolumeMounts": [{"name": "more", "mountPath": "/etc/more", "readOnly": True}],
        "extraInitContainers": [_container("first")],
        "sidecars": [_container("beside")],
    }


def _container(name: str) -> Object:
    return {
        "name": name,
        "image": "busybox:1.37",
        "imagePullPolicy": "IfNotPresent",
        "command": ["true"],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "16Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def merged(*maps: Object) -> Object:
    result: Object = {}
    for one in maps:
        for key, value in one.items():
            old = result.get(key)
            result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


EVERYTHING: Object = merged(
    GIVEN,
    {component: _everything_of(component) for component in _COMPONENTS},
    {
        "commonLabels": {"example.com/owner": "people"},
        "commonAnnotations": {"example.com/source": "git"},
        "image": {"registry": "registry.example.com", "digest": DIGEST, "pullSecrets": ["pull"]},
        "apiToken": {"value": TOKEN},
        "otel": {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"},
        "api": {"replicas": 3, "autoscaling": {"enabled": True, "minReplicas": 3}},
        "worker": {"keda": {"enabled": True}, "queues": "synergyway"},
        "dummyjson": {"pdb": {"enabled": True}, "replicas": 2},
        "flower": {
            "enabled": True,
            "replicas": 2,
            "basicAuth": {"value": "operator:secret"},
            "pdb": {"enabled": True, "minAvailable": 1},
        },
        "migrations": {
            key: value
            for key, value in _everything_of("migrate").items()
            if key not in ("topologySpread", "podDisruptionBudget")
        },
        "ingress": {
            "enabled": True,
            "className": "nginx",
            "annotations": {"example.com/a": "b"},
            "tls": [{"hosts": ["synergyway.example.com"], "secretName": "tls"}],
        },
        "networkPolicy": {"enabled": True},
        "monitoring": {
            "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
            "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
            "dashboards": {"enabled": True},
            "rules": {"enabled": True, "runbookBase": "https://git.example.com/"},
        },
        "postgresql": {"persistence": {"storageClass": "gp3", "annotations": {"a": "b"}, "size": "20Gi"}},
        "rabbitmq": {
            "replicas": 3,
            "serviceMonitor": {"enabled": True},
            "persistence": {"storageClass": "gp3", "annotations": {"a": "b"}},
            "extraPlugins": ["rabbitmq_shovel"],
            "extraConfig": "channel_max = 128",
        },
    },
)

NOTHING: Object = merged(
    EXTERNAL,
    {
        "config": SOURCES,
        "api": {"enabled": False},
        "worker": {"enabled": False},
        "beat": {"enabled": False},
        "dummyjson": {"enabled": False},
        "migrations": {"mode": "none", "wait": False},
        "tests": {"enabled": False},
    },
)

CASES: dict[str, Object] = {
    "defaults": {},
    "given passwords": GIVEN,
    "everything": EVERYTHING,
    "nothing but settings": NOTHING,
    "external by address": EXTERNAL,
    "external by parts": merged(
        EXTERNAL,
        {
            "externalDatabase": {
                "url": "",
                "host": "db.example.com",
                "username": "ser vice",
                "password": "p@ss/w:rd",
                "database": "synergyway",
                "sslmode": "verify-full",
                "sslRootCert": {"configMapName": "rds-ca", "key": "global-bundle.pem"},
            },
            "externalBroker": {
                "url": "",
                "scheme": "amqps",
                "host": "mq.example.com",
                "port": 5671,
                "username": "service",
                "password": "p@ss/w:rd",
                "vhost": "people",
            },
        },
    ),
    "external by a Secret's address": merged(
        EXTERNAL,
        {
            "externalDatabase": {
                "url": "",
                "existingSecret": "database",
                "existingSecretKeys": {"uri": "uri"},
                "sslRootCert": {"secretName": "rds-ca"},
                "sslmode": "verify-full",
            },
            "externalBroker": {
                "url": "",
                "existingSecret": "broker",
                "existingSecretKeys": {"uri": "connection_string"},
            },
        },
    ),
    "external by a Secret's parts": merged(
        EXTERNAL,
        {
            "externalDatabase": {
                "url": "",
                "existingSecret": "database",
                "existingSecretKeys": {
                    "host": "host",
                    "port": "port",
                    "username": "username",
                    "password": "password",
                    "database": "dbname",
                },
            },
            "externalBroker": {
                "url": "",
                "existingSecret": "broker",
                "existingSecretKeys": {
                    "host": "host",
                    "port": "port",
                    "username": "username",
                    "password": "password",
                },
            },
        },
    ),
    "redis": merged(EXTERNAL, {"externalBroker": {"url": "redis://:secret@redis.example.com:6379/0"}}),
    "migrations as a hook": merged(EXTERNAL, {"migrations": {"mode": "hook"}}),
    "no migrations": {"migrations": {"mode": "none"}},
    "existing Secrets for the subcharts": {
        "secrets": {"generate": False},
        "postgresql": {"auth": {"existingSecret": "pg", "existingSecretKeys": {"password": "pw"}}},
        "rabbitmq": {
            "auth": {"existingSecret": "mq", "existingSecretKeys": {"password": "pw", "erlangCookie": "cookie"}}
        },
        "apiToken": {"existingSecret": "token", "existingSecretKey": "value"},
        "flower": {"enabled": True, "basicAuth": {"existingSecret": "flower", "existingSecretKey": "auth"}},
    },
    "an HTTPRoute": {
        "httpRoute": {
            "enabled": True,
            "parentRefs": [{"name": "gateway", "namespace": "edge", "sectionName": "https"}],
            "hostnames": ["synergyway.example.com"],
            "paths": ["/users", "/healthz"],
            "annotations": {"a": "b"},
        }
    },
    "paused": {name: {"replicas": 0} for name in ("api", "worker", "beat", "dummyjson")},
    "HPAs": {
        "api": {"autoscaling": {"enabled": True, "targetMemoryUtilizationPercentage": 80}},
        "worker": {"autoscaling": {"enabled": True, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 600}}}},
    },
    "no PDB, no spread, no persistence": {
        **{name: {"pdb": {"enabled": False}, "topologySpread": {"zone": "", "host": ""}} for name in ("api", "worker")},
        "postgresql": {"persistence": {"enabled": False}},
        "rabbitmq": {"persistence": {"enabled": False}, "topologySpread": {"zone": "", "host": ""}},
    },
    "policies and external services": merged(EXTERNAL, {"config": SOURCES, "networkPolicy": {"enabled": True}}),
    "policies": {
        "networkPolicy": {"enabled": True},
        "flower": {"enabled": True},
        "worker": {"keda": {"enabled": True}},
    },
    "no ServiceAccounts": {name: {"serviceAccount": {"create": False}} for name in ("api", "worker", "beat")},
}

FILES = sorted(path.name for path in CHART.glob("values-*.yaml"))
LONG = "r" * 53


def rendered(case: str, **options: str) -> Manifests:
    """The objects of a case, or of a values file of the chart."""
    if case in CASES:
        return render(CASES[case], **options)
    return render(files=(case,), **options)


def with_passwords(case: str) -> Object:
    """The values of a case, with the passwords that would otherwise be generated."""
    values = CASES[case]
    if "existingSecret" in json.dumps(values.get("postgresql", {})):
        return values
    return merged(GIVEN, values)


ALL = [*CASES, *FILES]
