"""Filter flags: which filters they make, and which combinations are refused."""

from __future__ import annotations

import pytest

from tests.unit.cli.conftest import Remora


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


REFUSED = {
    "--ip 1.1.1.1 --pod a": "filters --ip and --pod cannot be combined",
    "--pod a --from-pod b": "filters --pod and --from-pod cannot be combined",
    "--fqdn a --namespace b": "filters --fqdn and --namespace cannot be combined",
    "-n a -A": "filters --namespace and --all-namespaces cannot be combined",
    "--from-pod a -n b": "filters --from-pod and --namespace cannot be combined",
    "--label a --to-label b": "filters --label and --to-label cannot be combined",
    "--port 1 --from-port 2": "filters --port and --from-port cannot be combined",
    "--encrypted --unencrypted": "filters --encrypted and --unencrypted cannot be combined",
    "--pod a/x -n b": 'namespace conflict: "b" does not contain "a"',
    "--service a/x --pod b/y": 'namespace of service "a/x" conflicts with pod "b/y"',
    "--not --not --ip 1.1.1.1": "consecutive --not statements",
    "--ip 1.1.1.1 --not": "trailing --not found in the arguments",
    "--verdict dropped": "invalid --verdict value: 'dropped' is not a verdict",
    "--drop-reason-desc X": "invalid --drop-reason-desc value: 'X' is not a drop reason",
    "--identity nobody": "invalid --identity value: invalid security identity 'nobody', expected one of",
    "--tcp-flags SYN,FOO": "invalid --tcp-flags value: unknown tcp flag: FOO",
    "--http-header x": "invalid --http-header value: 'x', expected name:value",
    "-t trace:nowhere": "invalid --type value: sub-type 'nowhere' of trace is unknown",
    "-t thing": "invalid --type value: type 'thing' is unknown",
    "--traffic-direction up": "invalid --traffic-direction value: up: invalid traffic direction",
    "--ip-trace-id 0": "invalid --ip-trace-id value: '0' is not a number greater than 0",
    '--allowlist {"no_such":1}': "invalid --allowlist flag: failed to decode",
    "--allowlist {": "invalid --allowlist flag: failed to decode",
    "--first 1 --last 1": "cannot set both --first and --last",
    "--first 1 --all": "cannot set both --first and --all",
    "--first 1 -f": "cannot set both --first and --follow",
    "--all --last 2": "cannot set both --last and --all",
    "-f -o table": "table output format is not compatible with follow mode",
    "--field-mask time": "compact output format is not compatible with custom field mask",
    "--since yesterday": "invalid --since value: 'yesterday' is neither a duration",
    "--last -1": "Invalid value for '--last'",
    "--no-such-flag": "No such option '--no-such-flag'",
}


@pytest.mark.parametrize("flags", REFUSED)
def test_flags_that_make_no_sense_are_refused_in_one_line(remora: Remora, flags: str) -> None:
    code, out, err = remora("observe", "--server", "unix:///nowhere", *flags.split())
    assert (code, out) == (2, "")
    assert err.startswith(f"remora: {REFUSED[flags]}")
    assert err.count("\n") == 1
