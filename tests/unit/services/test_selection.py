"""Which sets of endpoints a Service port needs."""

from __future__ import annotations

import pytest

from daemon.model.objects import (
    IpMode,
    LoadBalancerIngress,
    LoadBalancerStatus,
    ObjectMeta,
    Service,
    ServicePort,
    ServiceSpec,
    ServiceStatus,
    ServiceType,
    TrafficPolicy,
)
from daemon.services.selection import Policy, policy_of

CLUSTER, LOCAL, BOTH = Policy(), Policy(False, True), Policy(True, True)


def service(internal: TrafficPolicy, external: TrafficPolicy, mode: IpMode | None = None, ips: str = "") -> Service:
    ingress = (LoadBalancerIngress("192.0.2.1", mode),) if mode else ()
    spec = ServiceSpec(
        ServiceType.LOAD_BALANCER,
        internal_traffic_policy=internal,
        external_traffic_policy=external,
        external_ips=tuple(ips.split()),
    )
    return Service(ObjectMeta("api"), spec, ServiceStatus(LoadBalancerStatus(ingress)))


ANY, OWN = TrafficPolicy.CLUSTER, TrafficPolicy.LOCAL


@pytest.mark.parametrize(
    ("made", "port", "expected"),
    [
        (service(ANY, ANY), ServicePort(80), CLUSTER),
        (service(ANY, OWN), ServicePort(80), CLUSTER),
        (service(OWN, ANY), ServicePort(80), LOCAL),
        (service(OWN, ANY), ServicePort(80, node_port=30080), BOTH),
        (service(ANY, OWN), ServicePort(80, node_port=30080), BOTH),
        (service(OWN, OWN, IpMode.VIP), ServicePort(80), BOTH),
        (service(OWN, OWN, IpMode.PROXY), ServicePort(80), LOCAL),
        (service(ANY, OWN, ips="192.0.2.7"), ServicePort(80), BOTH),
    ],
)
def test_the_external_policy_counts_only_for_what_is_reached_from_outside(
    made: Service, port: ServicePort, expected: Policy
) -> None:
    assert policy_of(made, port) == expected
