"""What no suite asks, with a real agent: edges of port ranges, large datagrams, pods on the host's network, an agent
that is killed, and names from DNS."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from threading import Thread

import pytest
from dns import flags, message, rrset

from tests.support.place import until
from tests.support.policies import Object, cluster_policy, namespace, pod, policy
from tests.support.policy_live import Arena, Cell, arena

CLIENT, SERVER, HOST = ("10.0.1.1", "fc00::1:1"), ("10.0.1.2", "fc00::1:2"), ("10.0.1.3", "fc00::1:3")
RESOLVER, SITE, OTHER = "10.0.1.4", "10.0.1.5", "10.0.1.6"
RANGE = (1000, 1010)
PORTS = [(protocol, port) for protocol in ("TCP", "UDP", "SCTP") for port in (80, 999, 1000, 1005, 1010, 1011)]
LARGE = 2000  # bytes: two fragments
PATIENCE = 0.7  # s


@pytest.fixture(scope="module")
def live(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    homes = [CLIENT, SERVER, HOST, (RESOLVER,), (SITE,), (OTHER,)]
    with arena(tmp_path_factory.mktemp("edges"), homes, ("10.0.0.0/8", "fc00::/7"), PORTS) as made:
        yield made


def town(*more: Object) -> list[Object]:
    pods = {"client": CLIENT, "server": SERVER, "resolver": (RESOLVER,)}
    found = [pod(f"town/{name}", " ".join(ips), {"app": name}) for name, ips in pods.items()]
    return [namespace("town"), *found, *more]


def ingress(**rule: object) -> Object:
    """For the server."""
    return policy("town/server", podSelector={"matchLabels": {"app": "server"}}, ingress=[rule])


def test_a_range_of_ports_has_both_its_ends_and_nothing_beside(live: Arena) -> None:
    low, high = RANGE
    for allowed in ("TCP", "UDP", "SCTP"):
        live.become(town(ingress(ports=[{"protocol": allowed, "port": low, "endPort": high}])))
        cells = [
            Cell(source, target, protocol, port, protocol == allowed and low <= port <= high)
            for source, target in zip(CLIENT, SERVER, strict=True)
            for protocol, port in PORTS
        ]
        assert live.wrong(cells) == []


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_a_datagram_in_fragments_passes_whole_or_not_at_all(live: Arena, family: int) -> None:
    live.become(town(ingress(ports=[{"protocol": "UDP", "port": 7001}])))
    assert arrives(live, CLIENT[family], SERVER[family], 7001)
    assert not arrives(live, CLIENT[family], SERVER[family], 7002)


def arrives(live: Arena, source: str, target: str, port: int) -> bool:
    """Does a large datagram get from one pod to another?"""
    kind = socket.AF_INET6 if ":" in target else socket.AF_INET
    receiver = live.node.run(socket.socket, kind, socket.SOCK_DGRAM, workload=live.names[target])
    sender = live.node.run(socket.socket, kind, socket.SOCK_DGRAM, workload=live.names[source])
    with closing(receiver), closing(sender):
        receiver.settimeout(PATIENCE)
        receiver.bind(("", port))
        sender.sendto(bytes(LARGE), (target, port))
        try:
            return len(receiver.recv(2 * LARGE)) == LARGE
        except TimeoutError:
            return False


def test_a_pod_on_the_hosts_network_is_met_by_blocks_alone(live: Arena) -> None:
    host = pod("town/host", " ".join(HOST), {"app": "host"}, hostNetwork=True)
    by_label = {"from": [{"podSelector": {"matchLabels": {"app": "host"}}}]}
    by_block = {"from": [{"ipBlock": {"cidr": f"{HOST[0]}/32"}}, {"ipBlock": {"cidr": f"{HOST[1]}/128"}}]}
    for rule, passes in ((by_label, False), (by_block, True)):
        live.become(town(host, ingress(**rule)))
        cells = [Cell(*ends, "TCP", 80, passes) for ends in zip(HOST, SERVER, strict=True)]
        assert live.wrong([*cells, *(Cell(*ends, "TCP", 80, False) for ends in zip(CLIENT, SERVER, strict=True))]) == []


def test_verdicts_hold_while_the_agent_is_killed_and_after_its_start(live: Arena) -> None:
    live.become(town(ingress(ports=[{"port": 80}])))
    cells = [Cell(CLIENT[0], SERVER[0], "TCP", 80, True), Cell(CLIENT[0], SERVER[0], "TCP", 999, False)]
    live.agent.kill()
    assert live.wrong(cells) == []
    live.agent.launch()
    while live.agent.status_or_none() is None:
        assert live.wrong(cells) == []
    assert live.wrong(cells) == []


def test_a_name_opens_the_addresses_that_dns_told_the_pod(live: Arena) -> None:
    to_dns = {"action": "Accept", "to": [{"pods": {"podSelector": {"matchLabels": {"app": "resolver"}}}}]}
    to_name = {"action": "Accept", "to": [{"domainNames": ["*.example.org"]}]}
    nothing_else = {"action": "Deny", "to": [{"networks": ["0.0.0.0/0", "::/0"]}]}
    subject = {"pods": {"podSelector": {"matchLabels": {"app": "client"}}}}
    live.become(town(cluster_policy("names", subject=subject, egress=[to_dns, to_name, nothing_else])))
    shut = [Cell(CLIENT[0], one, "TCP", 80, False) for one in (SITE, OTHER)]
    assert live.wrong(shut) == []
    resolve(live, "www.example.org", SITE)
    resolve(live, "example.org", OTHER)
    opened = [shut[0]._replace(passes=True), shut[1]]
    until(lambda: live.wrong(opened) == [], 10)


def resolve(live: Arena, name: str, address: str) -> None:
    """The client asks the resolver, which says so."""
    server = live.node.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM, workload=live.names[RESOLVER])
    client = live.node.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM, workload=live.names[CLIENT[0]])
    with closing(server), closing(client):
        server.bind(("", 53))
        client.settimeout(PATIENCE)
        answering = Thread(target=answer, args=(server, address))
        answering.start()
        client.sendto(message.make_query(name, "A").to_wire(), (RESOLVER, 53))
        assert client.recv(512)
        answering.join()


def answer(server: socket.socket, address: str) -> None:
    data, peer = server.recvfrom(512)
    reply = message.make_response(message.from_wire(data))
    reply.flags |= flags.RA
    reply.answer.append(rrset.from_text(reply.question[0].name, 60, "IN", "A", address))
    server.sendto(reply.to_wire(), peer)
