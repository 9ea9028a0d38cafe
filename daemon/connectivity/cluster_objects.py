"""The objects of the connectivity test in a cluster, as an operator would write them: addresses are the cluster's.

The pods run in the agent's own image, as nobody, on the one node whose agent is tested; they say so themselves, because
what is tried is this node's datapath and not the scheduler.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from daemon.connectivity.objects import DNS_NAME, NAMESPACE, POLICY, PORT

ASKED_PORT = 8098  # of the clients
OWNER = {"app.kubernetes.io/managed-by": "remora-connectivity-test"}
CLIENTS = ("client", "stranger")
NOBODY = 65532

Object = dict[str, Any]


def namespace() -> Object:
    """The namespace that holds all others, and takes them with it."""
    level = {"pod-security.kubernetes.io/enforce": "baseline"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": OWNER | level}}


def services() -> list[Object]:
    """Services of both families where the cluster has both."""
    port = {"name": "main", "port": 80, "targetPort": PORT}
    affinity = {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}}
    return [
        _service("echo", "echo", port, type="NodePort"),
        _service("sticky", "echo", port, **affinity),
        _service("empty", "nobody", port),
        _service("names", "names", {"name": "main", "port": 53, "targetPort": 53, "protocol": "UDP"}),
    ]


def policy() -> Object:
    """Who may talk to the vault."""
    allowed = {"from": [{"podSelector": {"matchLabels": {"app": "client"}}}], "ports": [{"port": PORT}]}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": POLICY, "namespace": NAMESPACE, "labels": OWNER},
        "spec": {
            "podSelector": {"matchLabels": {"app": "vault"}},
            "policyTypes": ["Ingress"],
            "ingress": [allowed],
        },
    }


def pod(name: str, node: str, image: str, echo: str) -> Object:
    """One of the test's pods; `echo` is the address that the name server tells."""
    port, program = _program(name, echo)
    container = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/usr/bin/python3", "-P", "-m", *program],
        "env": [{"name": "PYTHONPATH", "value": "/opt/remora/lib"}],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
        "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 1, "failureThreshold": 60},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {**OWNER, "app": name.split("-")[0]}},
        "spec": {
            "nodeName": node,
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
            "tolerations": [{"operator": "Exists"}],
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": NOBODY,
                "seccompProfile": {"type": "RuntimeDefault"},
                # a safe sysctl: the name server listens at port 53
                "sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}],
            },
            "containers": [container],
        },
    }


def _program(name: str, echo: str) -> tuple[int, Sequence[str]]:
    """The port by which a pod is ready, and what it runs."""
    if name in CLIENTS:
        return ASKED_PORT, ["daemon.connectivity.asked", str(ASKED_PORT)]
    if name == "names":
        return 53, ["daemon.demo.names", f"{DNS_NAME}={echo}"]
    return PORT, ["daemon.connectivity.whoami", name, str(PORT)]


def _service(name: str, app: str, port: Object, **spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": OWNER},
        "spec": {"selector": {"app": app}, "ports": [port], "ipFamilyPolicy": "PreferDualStack", **spec},
    }
