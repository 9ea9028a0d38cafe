"""Filter flags: which filters they make, and which combinations are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Remora

GOLDEN = Path(__file__).parents[2] / "golden" / "observe"


def raw(allow: tuple[str, ...] = (), deny: tuple[str, ...] = ()) -> str:
    lists = (("allowlist", allow), ("denylist", deny))
    return "".join(f"{name}:\n" + "".join(f"    - '{one}'\n" for one in ones) for name, ones in lists if ones)


def pair(field: str, value: str) -> tuple[str, str]:
    return f'{{"source_{field}":["{value}"]}}', f'{{"destination_{field}":["{value}"]}}'


FILTERS = {
    "": raw(),
    "--pod foo": raw(pair("pod", "foo")),
    "-n kube-system": raw(pair("pod", "kube-system/")),
    "--pod foo -n bar": raw(pair("pod", "bar/foo")),
    "--pod bar/foo -n bar": raw(pair("pod", "bar/foo")),
    "-A": raw(pair("pod", "/")),
    "--from-namespace a": raw(('{"source_pod":["a/"]}',)),
    "--from-namespace a --to-namespace b": raw(('{"source_pod":["a/"],"destination_pod":["b/"]}',)),
    "--from-pod a --to-pod b/c": raw(('{"source_pod":["a"],"destination_pod":["b/c"]}',)),
    "--protocol tcp --port 80": raw(
        ('{"protocol":["tcp"],"source_port":["80"]}', '{"protocol":["tcp"],"destination_port":["80"]}')
    ),
    "-t trace:to-endpoint -t drop -t l7": raw(
        ('{"event_type":[{"type":4,"match_sub_type":true},{"type":1},{"type":129}]}',)
    ),
    "-t agent:policy-updated": raw(('{"event_type":[{"type":130,"match_sub_type":true,"sub_type":5}]}',)),
    "-t 200:7": raw(('{"event_type":[{"type":200,"match_sub_type":true,"sub_type":7}]}',)),
    "--not --ip 10.0.0.0/8": raw(deny=pair("ip", "10.0.0.0/8")),
    "--not --ip 10.0.0.1 --port 80": raw(pair("port", "80"), pair("ip", "10.0.0.1")),
    "--service api --namespace shop": raw(pair("service", "shop/api")),
    "--ip a --ip b": raw(('{"source_ip":["a","b"]}', '{"destination_ip":["a","b"]}')),
    "-4 -6": raw(('{"ip_version":["IPv4","IPv6"]}',)),
    "--ip-version none": raw(('{"ip_version":["IP_NOT_USED"]}',)),
    "--verdict DROPPED --verdict ERROR": raw(('{"verdict":["DROPPED","ERROR"]}',)),
    "--identity world --identity 0x100": raw(('{"source_identity":[2,256]}', '{"destination_identity":[2,256]}')),
    "--workload Deployment/api": raw(
        (
            '{"source_workload":[{"name":"api","kind":"Deployment"}]}',
            '{"destination_workload":[{"name":"api","kind":"Deployment"}]}',
        )
    ),
    "--tcp-flags syn,ack --tcp-flags RST": raw(('{"tcp_flags":[{"SYN":true,"ACK":true},{"RST":true}]}',)),
    "--http-header x-id:a:b": raw(('{"http_header":[{"key":"x-id","value":"a:b"}]}',)),
    "--unencrypted": raw(('{"encrypted":[false]}',)),
    "--traffic-direction ingress": raw(('{"traffic_direction":["INGRESS"]}',)),
    "--cel-expression true": raw(('{"experimental":{"cel_expression":["true"]}}',)),
    '--allowlist {"uuid":["a"]}{"uuid":["b"]} --denylist {"reply":[true]}': raw(
        ('{"uuid":["a"]}', '{"uuid":["b"]}'), ('{"reply":[true]}',)
    ),
}


@pytest.mark.parametrize("flags", FILTERS)
def test_flags_make_these_filters(remora: Remora, flags: str) -> None:
    assert remora("observe", "--print-raw-filters", *flags.split()) == (0, FILTERS[flags], "")


REFUSED: dict[str, str] = json.loads((GOLDEN / "refused.json").read_text())
"""Command lines, and how their complaint begins."""


@pytest.mark.parametrize("flags", REFUSED)
def test_flags_that_make_no_sense_are_refused_in_one_line(remora: Remora, flags: str) -> None:
    code, out, err = remora("observe", "--server", "unix:///nowhere", *flags.split())
    assert (code, out) == (2, "")
    assert err.startswith(f"remora: {REFUSED[flags]}")
    assert err.count("\n") == 1
