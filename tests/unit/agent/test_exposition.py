"""The Prometheus endpoint, asked over a real socket."""

from __future__ import annotations

import gzip
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from socket import create_server

import pytest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from daemon.agent.exposition import Exposition, serve
from ebpf.errors import RemoraError


class Own(Collector):
    """One counter, as the agent's own metrics come."""

    def collect(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily("own", "Words.", value=7)


def _flows(openmetrics: bool) -> bytes:
    return b'# TYPE flows counter\nflows_total 3 # {traceID="a"} 1\n' if openmetrics else b"flows_total 3\n"


def _free_port() -> int:
    with create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture
def url() -> Iterator[str]:
    address = f"127.0.0.1:{_free_port()}"
    end = serve(address, Exposition([_flows], [Own()]))
    yield f"http://{address}/metrics"
    end()


def _ask(url: str, **headers: str) -> tuple[str, bytes, str]:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as answer:
        return answer.headers["Content-Type"], answer.read(), answer.headers.get("Content-Encoding", "")


def test_everything_is_told_in_the_older_format_by_default(url: str) -> None:
    kind, text, _ = _ask(url)
    assert kind == "text/plain; version=0.0.4; charset=utf-8"
    assert b"flows_total 3\n" in text
    assert b"own_total 7.0\n" in text


def test_openmetrics_is_told_to_who_asks_and_ends_once(url: str) -> None:
    kind, text, _ = _ask(url, Accept="application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2")
    assert kind.startswith("application/openmetrics-text; version=1.0.0")
    assert b'# {traceID="a"} 1\n' in text
    assert b"own_total 7.0\n" in text
    assert text.count(b"# EOF\n") == 1
    assert text.endswith(b"# EOF\n")


def test_the_answer_is_packed_for_who_can_unpack_it(url: str) -> None:
    _, packed, encoding = _ask(url, **{"Accept-Encoding": "gzip, deflate"})
    assert encoding == "gzip"
    assert gzip.decompress(packed) == _ask(url)[1]


def test_other_paths_are_not_there(url: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        _ask(url.replace("/metrics", "/other"))


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_without_a_host_all_addresses_of_both_families_are_served(host: str) -> None:
    port = _free_port()
    end = serve(f":{port}", Exposition([_flows], [Own()]))
    try:
        assert b"flows_total 3\n" in _ask(f"http://{host}:{port}/metrics")[1]
    finally:
        end()


def test_serving_waits_for_no_name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(socket, "getfqdn", lambda name="": asked.append(name) or name)
    serve(f"0.0.0.0:{_free_port()}", Exposition([], []))()
    assert asked == []


@pytest.mark.parametrize("address", ["127.0.0.1:notaport", "127.0.0.1:99999", "no.such.host.invalid:1"])
def test_an_address_that_cannot_be_served_is_told_with_its_setting(address: str) -> None:
    with pytest.raises(RemoraError, match=f"cannot serve metrics on {address}") as caught:
        serve(address, Exposition([], []))
    assert "metrics_address" in caught.value.hint


def test_a_port_that_is_taken_is_told() -> None:
    with create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RemoraError, match="cannot serve metrics"):
            serve(f"127.0.0.1:{port}", Exposition([], []))
