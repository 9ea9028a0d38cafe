"""Manifests to objects: kinds, lists, defaults, notes and errors."""

from __future__ import annotations

from textwrap import dedent

import pytest

from daemon.model.objects import (
    EndpointSlice,
    IpMode,
    Namespace,
    ObjectRef,
    Pod,
    Protocol,
    Service,
    ServiceType,
    SessionAffinity,
    TrafficPolicy,
)
from daemon.sources.decode import Manifest, read_manifest
from daemon.sources.manifest import ManifestError

LOAD_BALANCER = ServiceType.LOAD_BALANCER


def read(text: str) -> Manifest:
    return read_manifest(dedent(text))


def only(text: str) -> object:
    (located,) = read(text).objects
    return located.object


SERVICE = """\
    apiVersion: v1
    kind: Service
    metadata: {name: api}
    spec:
      clusterIP: 10.96.0.1
      ports:
      - port: 80
"""


def test_a_service_gets_the_api_servers_defaults() -> None:
    service = only(SERVICE)
    assert isinstance(service, Service)
    assert service.ref == ObjectRef("Service", "default", "api")
    assert service.spec.cluster_ips == ("10.96.0.1",)
    assert service.spec.internal_traffic_policy is TrafficPolicy.CLUSTER
    (port,) = service.spec.ports
    assert (port.protocol, port.target_port, port.name) == (Protocol.TCP, 80, "")


def test_the_first_cluster_ip_is_taken_from_the_list_where_only_that_is_written() -> None:
    service = only(SERVICE.replace("clusterIP: 10.96.0.1", "clusterIPs: [10.96.0.1, 'fd00::1']"))
    assert isinstance(service, Service)
    assert service.spec.cluster_ip == "10.96.0.1"


def test_the_outside_of_a_service_is_read() -> None:
    service = only("""\
        apiVersion: v1
        kind: Service
        metadata: {name: api}
        spec:
          type: LoadBalancer
          clusterIPs: [10.96.0.1, "fd00::1"]
          externalIPs: [192.0.2.9]
          externalTrafficPolicy: Local
          internalTrafficPolicy: Local
          healthCheckNodePort: 32000
          loadBalancerSourceRanges: [10.0.0.0/8]
          sessionAffinity: ClientIP
          sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}
          ports: [{port: 80, nodePort: 30080, protocol: UDP}]
        status:
          loadBalancer:
            ingress: [{ip: 192.0.2.1}, {ip: 192.0.2.2, ipMode: Proxy}, {ip: 192.0.2.3, ipMode: VIP}, {hostname: x}]
    """)
    assert isinstance(service, Service)
    spec = service.spec
    assert (spec.type, spec.external_ips, spec.health_check_node_port) == (LOAD_BALANCER, ("192.0.2.9",), 32000)
    assert spec.external_traffic_policy is spec.internal_traffic_policy is TrafficPolicy.LOCAL
    assert spec.load_balancer_source_ranges == ("10.0.0.0/8",)
    assert spec.session_affinity is SessionAffinity.CLIENT_IP
    assert spec.session_affinity_config.client_ip.timeout_seconds == 60
    assert spec.ports[0].node_port == 30080
    modes = [(entry.ip, entry.ip_mode) for entry in service.status.load_balancer.ingress]
    assert modes == [
        ("192.0.2.1", IpMode.VIP), ("192.0.2.2", IpMode.PROXY), ("192.0.2.3", IpMode.VIP), ("", IpMode.VIP)
    ]  # fmt: skip


def test_affinity_lasts_three_hours_where_nothing_is_written() -> None:
    service = only(SERVICE + "      sessionAffinity: ClientIP\n      sessionAffinityConfig: {clientIP: null}\n")
    assert isinstance(service, Service)
    assert service.spec.session_affinity_config.client_ip.timeout_seconds == 10_800


def test_the_host_ports_of_a_pod_are_those_of_its_containers_and_sidecars() -> None:
    pod = only("""\
        apiVersion: v1
        kind: Pod
        metadata: {name: p}
        spec:
          initContainers:
          - ports: [{containerPort: 1, hostPort: 1}]
          - {restartPolicy: Always, ports: [{containerPort: 2, hostPort: 8002, protocol: UDP}]}
          containers:
          - name: web
            ports: [{containerPort: 3, hostPort: 8003, hostIP: 192.0.2.9}, {containerPort: 4}]
          - name: quiet
    """)
    assert isinstance(pod, Pod)
    told = [(port.container_port, port.host_port, port.host_ip, port.protocol) for port in pod.host_ports]
    assert told == [(3, 8003, "192.0.2.9", Protocol.TCP), (2, 8002, "", Protocol.UDP)]


def test_a_named_target_port_stays() -> None:
    service = only(SERVICE.replace("- port: 80", "- {port: 80, targetPort: web}"))
    assert isinstance(service, Service)
    assert service.spec.ports[0].target_port == "web"


def test_an_endpoint_without_conditions_is_ready() -> None:
    found = only("""\
        apiVersion: discovery.k8s.io/v1
        kind: EndpointSlice
        metadata: {name: api-a, namespace: shop, labels: {kubernetes.io/service-name: api}}
        addressType: IPv4
        ports: [{port: 8080, protocol: null}]
        endpoints:
        - addresses: [10.0.0.1]
        - {addresses: [10.0.0.2], conditions: {ready: false, serving: true, terminating: true}}
    """)
    assert isinstance(found, EndpointSlice)
    assert found.service == "api"
    assert found.ports[0].protocol is Protocol.TCP
    first, second = found.endpoints
    assert (first.ready, first.serving, first.terminating) == (True, True, False)
    assert (second.ready, second.serving, second.terminating) == (False, True, True)


def test_a_slice_with_nothing_in_it_as_the_api_server_writes_it() -> None:
    found = only("""\
        {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "a"},
         "addressType": "IPv4", "endpoints": null, "ports": null}
    """)
    assert isinstance(found, EndpointSlice)
    assert (found.endpoints, found.ports) == ((), ())


def test_a_pod_tells_its_addresses_in_either_spelling() -> None:
    head = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nstatus: "
    one, two = (
        only(head + "{podIP: 10.0.0.1}"),
        only(head + "{podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: fd00::1}]}"),
    )
    assert isinstance(one, Pod)
    assert isinstance(two, Pod)
    assert (one.addresses, two.addresses) == (("10.0.0.1",), ("10.0.0.1", "fd00::1"))


def test_a_namespace_is_in_no_namespace() -> None:
    found = only("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}")
    assert isinstance(found, Namespace)
    assert found.ref == ObjectRef("Namespace", "", "shop")


def test_lists_are_unpacked_and_items_of_a_typed_list_need_no_kind() -> None:
    manifest = read("""\
        apiVersion: v1
        kind: List
        items:
        - {apiVersion: v1, kind: Pod, metadata: {name: a}}
        - apiVersion: v1
          kind: PodList
          items:
          - metadata: {name: b}
    """)
    assert [(located.object.name, located.line) for located in manifest.objects] == [("a", 4), ("b", 8)]


def test_kinds_that_are_not_read_are_named_and_skipped() -> None:
    manifest = read("""\
        {apiVersion: apps/v1, kind: Deployment, metadata: {name: api, namespace: shop}}
        ---
        {apiVersion: serving.knative.dev/v1, kind: Service, metadata: {name: api}, spec: {ports: nonsense}}
        ---
        {apiVersion: v1, kind: Pod, metadata: {name: p}}
    """)
    assert manifest.ignored == (ObjectRef("Deployment", "shop", "api"), ObjectRef("Service", "", "api"))
    assert len(manifest.objects) == 1


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("port: 80", "port: eighty", 7, "Service default/api: spec.ports[0].port: Expected `int`, got `str`"),
        ("port: 80", "port: 70000", 7, "Expected `int` <= 65535"),
        ("port: 80", "{port: 80, nodePort: 70000}", 7, "Expected `int` <= 65535"),
        ("clusterIP: 10.96.0.1", "sessionAffinity: Cookie", 5, "Invalid enum value 'Cookie'"),
        (
            "clusterIP: 10.96.0.1",
            "sessionAffinityConfig: {clientIP: {timeoutSeconds: 86401}}",
            5,
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Expected `int` <= 86400",
        ),
        ("port: 80", "name: x", 7, "missing required field `port`"),
        ("port: 80", "{port: 80, protocol: ICMP}", 7, "Invalid enum value 'ICMP'"),
        ("clusterIP: 10.96.0.1", "clusterIP: 10", 5, "Expected `str`, got `int`"),
        ("name: api", "labels: {a: 1}, name: api", 3, "metadata.labels[...]: Expected `str`, got `int`"),
        ("{name: api}", "{namespace: x}", 3, "missing required field `name`"),
        ("metadata: {name: api}", "meta: data", 1, "missing required field `metadata`"),
        ("kind: Service", "nokind: Service", 1, "object without kind"),
        ("apiVersion: v1", "version: v1", 1, "object without apiVersion"),
        ("kind: Service", "kind: [Service]", 2, "kind is not text"),
    ],
)
def test_a_wrong_value_is_refused_with_its_line(old: str, new: str, line: int, words: str) -> None:
    text = SERVICE.replace(f"      - {old}", f"      - {new}") if f"- {old}" in SERVICE else SERVICE.replace(old, new)
    with pytest.raises(ManifestError) as caught:
        read(text)
    assert words in str(caught.value)
    assert caught.value.line == line


@pytest.mark.parametrize("text", ["just text", "- a\n- b", "7"])
def test_a_document_that_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(ManifestError, match="not an object"):
        read(text)


SLICE = """\
    apiVersion: discovery.k8s.io/v1
    kind: EndpointSlice
    metadata:
      name: api-a
      labels: {kubernetes.io/service-name: api}
    addressType: IPv4
    ports:
    - port: 8080
    endpoints:
    - addresses: [10.0.0.1]
"""


BALANCED = (
    SERVICE
    + """\
      type: LoadBalancer
    status:
      loadBalancer:
        ingress:
        - ip: 192.0.2.1
"""
)

HOST_PORT = """\
    apiVersion: v1
    kind: Pod
    metadata: {name: p}
    spec:
      containers:
      - ports: [{containerPort: 80, hostPort: 8080, hostIP: 192.0.2.9}]
"""


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (SERVICE.replace("ports:\n      - port: 80", "ports: []"), 4, "no ports"),
        (SERVICE.replace("clusterIP: 10.96.0.1", "type: ClusterIP"), 4, "no clusterIP"),
        (SERVICE.replace("10.96.0.1", "10.96.0.256"), 5, '"10.96.0.256" is not an IP address'),
        (SERVICE + "      - port: 80\n", 7, "twice; only the first"),
        (SERVICE + "      - port: 81\n", 7, 'port name "" twice'),
        (SERVICE.replace("10.96.0.1", "127.0.0.1"), 5, "127.0.0.1 cannot be a Service's"),
        (SERVICE.replace("port: 80", "port: 80\n        nodePort: 30080"), 8, "nodePort 30080 is not used with type"),
        (SERVICE + "      externalIPs: [192.0.2.300]\n", 8, '"192.0.2.300" is not an IP address'),
        (SERVICE + "      externalIPs: ['::']\n", 8, ":: cannot be a Service's"),
        (SERVICE + "      type: LoadBalancer\n      loadBalancerSourceRanges: [10.0.0.0/33]\n", 9, "is not a network"),
        (BALANCED.replace("192.0.2.1", "x"), 12, '"x" is not an IP address'),
        (BALANCED.replace("LoadBalancer", "NodePort"), 12, "192.0.2.1 is not used with type NodePort"),
        (HOST_PORT.replace("192.0.2.9", "x"), 6, '"x" is not an IP address; the host port is not served'),
        (HOST_PORT.replace("192.0.2.9", "127.0.0.1"), 6, "loopback alone"),
        (SLICE.replace("{kubernetes.io/service-name: api}", "{}"), 5, "belongs to no Service"),
        (SLICE.replace("IPv4", "FQDN"), 6, "names instead of addresses"),
        (SLICE.replace("- port: 8080", "- name: x"), 8, "no port number"),
        (SLICE.replace("10.0.0.1", "10.0.0.1.5"), 10, "is not an IPv4 address"),
        (SLICE.replace("10.0.0.1", "'fd00::1'"), 10, "is not an IPv4 address"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nstatus:\n  podIP: x\n", 5, '"x" is not an IP address'),
    ],
)
def test_what_has_no_effect_is_noted_with_its_line_and_stops_nothing(text: str, line: int, words: str) -> None:
    manifest = read(text)
    assert len(manifest.objects) == 1
    assert [note.line for note in manifest.notes][:1] == [line]
    assert words in manifest.notes[0].message


@pytest.mark.parametrize(
    "text",
    [
        SERVICE,
        SLICE,
        BALANCED,
        HOST_PORT,
        SERVICE.replace("10.96.0.1", "None"),
        SERVICE.replace("clusterIP: 10.96.0.1", "type: ExternalName"),
        SLICE.replace("api}", "api, service.kubernetes.io/headless: ''}").replace("10.0.0.1", "x"),
    ],
)
def test_what_is_in_order_is_not_noted(text: str) -> None:
    assert read(text).notes == ()
