"""Objects as an API server of Kubernetes 1.36 writes them: with what no agent uses, and the rare of what it does."""

from __future__ import annotations

from typing import Any

_MIRROR = "kubernetes.io/config.mirror"
_NOW = "2026-11-23T08:00:00Z"


def _meta(name: str, namespace: str = "shop", **more: Any) -> dict[str, Any]:
    return {"name": name, "namespace": namespace, "uid": "u", "generation": 3, "creationTimestamp": _NOW, **more}


PLAIN = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": _meta("plain"),
    "spec": {
        "clusterIP": "10.96.0.7",
        "clusterIPs": ["10.96.0.7", "fd00:10:96::7"],
        "internalTrafficPolicy": "Local",
        "ipFamilies": ["IPv4", "IPv6"],
        "ipFamilyPolicy": "PreferDualStack",
        "ports": [
            {"name": "web", "appProtocol": "kubernetes.io/h2c", "port": 80, "protocol": "TCP", "targetPort": "web"}
        ],
        "publishNotReadyAddresses": True,
        "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}},
        "trafficDistribution": "PreferSameNode",
        "type": "ClusterIP",
    },
    "status": {"loadBalancer": {}, "conditions": [{"type": "LoadBalancerPortsError", "status": "False"}]},
}
EXTERNAL = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": _meta("elsewhere"),
    "spec": {"externalName": "db.example.com", "sessionAffinity": "None", "type": "ExternalName"},
    "status": {"loadBalancer": {}},
}
BALANCED = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": _meta(
        "balanced", deletionTimestamp=_NOW, deletionGracePeriodSeconds=0, finalizers=["service.kubernetes.io/x"]
    ),
    "spec": {
        "allocateLoadBalancerNodePorts": False,
        "clusterIP": "10.96.0.8",
        "clusterIPs": ["10.96.0.8"],
        "externalTrafficPolicy": "Local",
        "healthCheckNodePort": 31111,
        "loadBalancerClass": "example.com/lb",
        "ports": [{"port": 53, "protocol": "UDP", "targetPort": 53}],
        "type": "LoadBalancer",
    },
    "status": {
        "loadBalancer": {
            "ingress": [
                {"hostname": "lb.example.com"},
                {"ip": "192.0.2.8", "ipMode": "Proxy", "ports": [{"port": 53, "protocol": "UDP"}]},
            ]
        }
    },
}
HINTED = {
    "apiVersion": "discovery.k8s.io/v1",
    "kind": "EndpointSlice",
    "addressType": "IPv4",
    "metadata": _meta("plain-a", generateName="plain-", labels={"kubernetes.io/service-name": "plain"}),
    "endpoints": [
        {
            "addresses": ["10.9.0.1"],
            "conditions": {},
            "deprecatedTopology": {"topology.kubernetes.io/region": "r"},
            "hints": {"forNodes": [{"name": "n1"}], "forZones": [{"name": "a"}]},
            "hostname": "web-0",
            "nodeName": "n1",
            "targetRef": {"kind": "Pod", "name": "web-0", "namespace": "shop", "uid": "u"},
            "zone": "a",
        },
        {"addresses": ["10.9.0.2"]},
    ],
    "ports": [{"name": "", "protocol": "TCP"}, {"name": "web", "port": 8080, "appProtocol": "http"}],
}
NAMED = {
    "apiVersion": "discovery.k8s.io/v1",
    "kind": "EndpointSlice",
    "addressType": "FQDN",
    "metadata": _meta("plain-b", labels={"kubernetes.io/service-name": "plain"}),
    "endpoints": [{"addresses": ["web.example.com"], "conditions": {"ready": True}}],
    "ports": None,
}
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": _meta(
        "web-0",
        annotations={_MIRROR: "9f86d081", "kubernetes.io/config.source": "file"},
        ownerReferences=[{"apiVersion": "v1", "controller": True, "kind": "Node", "name": "n1", "uid": "u"}],
    ),
    "spec": {
        "containers": [
            {
                "name": "web",
                "image": "web",
                "ports": [{"containerPort": 8080, "name": "web", "protocol": "TCP"}],
                "restartPolicy": "Never",
                "restartPolicyRules": [{"action": "Restart"}],
            }
        ],
        "ephemeralContainers": [{"name": "debugger", "image": "d", "targetContainerName": "web"}],
        "initContainers": [
            {"name": "init", "image": "i"},
            {"name": "mesh", "image": "m", "restartPolicy": "Always", "ports": [{"containerPort": 15001}]},
        ],
        "nodeName": "n1",
        "hostnameOverride": "web",
        "tolerations": [{"operator": "Exists"}],
    },
    "status": {
        "hostIP": "192.0.2.1",
        "hostIPs": [{"ip": "192.0.2.1"}, {"ip": "2001:db8::1"}],
        "observedGeneration": 3,
        "phase": "Running",
        "podIP": "10.9.0.1",
        "podIPs": [{"ip": "10.9.0.1"}, {"ip": "fd00::1"}],
        "qosClass": "BestEffort",
        "containerStatuses": None,
    },
}
NODE = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "a"}},
    "spec": {
        "podCIDR": "10.9.0.0/24",
        "podCIDRs": ["10.9.0.0/24", "fd00::/64"],
        "taints": [{"effect": "NoSchedule", "key": "k", "timeAdded": _NOW}],
    },
    "status": {
        "addresses": [{"address": "192.0.2.1", "type": "InternalIP"}, {"address": "n1", "type": "InternalDNS"}],
        "features": {"supplementalGroupsPolicy": True},
    },
}
NAMESPACE = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {"name": "shop", "deletionTimestamp": _NOW, "labels": {"kubernetes.io/metadata.name": "shop"}},
    "spec": {"finalizers": ["kubernetes"]},
    "status": {"phase": "Terminating"},
}
POLICY = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": _meta("web"),
    "spec": {
        "egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}]}, {}],
        "ingress": [{"ports": [{"endPort": 32768, "port": 32000, "protocol": "TCP"}, {"port": "web"}]}],
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    },
}
CLUSTER_POLICY = {
    "apiVersion": "policy.networking.k8s.io/v1alpha2",
    "kind": "ClusterNetworkPolicy",
    "metadata": {"name": "base"},
    "spec": {
        "egress": [{"action": "Deny", "to": [{"ofTomorrow": {"name": "x"}}]}],
        "priority": 0,
        "subject": {"namespaces": {}},
        "tier": "Admin",
    },
    "status": {"conditions": []},
}
ALL = (PLAIN, EXTERNAL, BALANCED, HINTED, NAMED, POD, NODE, NAMESPACE, POLICY, CLUSTER_POLICY)
