"""Garbage for the parsers of DNS, HTTP/1 and TLS: nothing escapes, nothing grows without bound.

A few hundred examples in CI; `make fuzz EXAMPLES=200000` takes its time. Examples begin as real messages and are then
damaged, since pure noise is refused at the first byte.
"""

from __future__ import annotations

import os
import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.flows.l7 import PayloadRecord, decode_http, decode_tls
from daemon.flows.l7.assembly import BYTES, CAPACITY
from daemon.flows.l7.dns import decode_dns
from ebpf.constants import PayloadKind
from tests.unit.flows.hellos import client_hello
from tests.unit.flows.samples import Bench, dns_answer, dns_query, row, rows

EXAMPLES = int(os.environ.get("REMORA_FUZZ_EXAMPLES", "200"))
GROWTH = 24 * 1024 * 1024  # bytes: all tables full of the largest that they take

REQUEST = b"POST /a?b=c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nSet-Cookie: a=b\r\n\r\nhello"
SEEDS = (dns_query(), dns_answer(), dns_answer(rcode=3, ips=()), REQUEST, RESPONSE, client_hello("api.example"))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A message of any kind with some of its bytes replaced, cut out, doubled or followed by others."""
    data = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 40))
        patch = draw(st.one_of(st.binary(max_size=40), st.just(data[at : at + length] * 2)))
        data = data[:at] + patch + data[at + length :]
    return data


@settings(max_examples=EXAMPLES, deadline=None)
@given(damaged())
def test_decoders_take_damaged_messages(data: bytes) -> None:
    decode_dns(data)
    decode_http(data, response=False)
    decode_http(data, response=True)
    decode_tls(data)


payloads = st.lists(
    st.builds(
        PayloadRecord,
        st.builds(
            row,
            proto=st.sampled_from((6, 17)),
            src_port=st.integers(40_000, 40_003),
            dst_port=st.sampled_from((53, 80, 443)),
            time=st.integers(1, 10**11),
        ),
        st.sampled_from((*map(int, PayloadKind), 99)),
        damaged(),
        st.booleans(),
        st.integers(0, 70_000),
        st.one_of(st.integers(0, 300), st.integers(2**32 - 300, 2**32 - 1)),
    ),
    max_size=12,
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(payloads)
def test_the_pipeline_takes_any_payloads_in_any_order(records: list[PayloadRecord]) -> None:
    bench = Bench()
    for one in records:
        bench.pipeline.ingest(rows(), [one])
        bench.now += 700_000_000
    bench.flows()


def test_garbage_of_nine_thousand_connections_leaves_little_behind() -> None:
    bench = Bench()
    begun = (b"GET /" + b"a" * 1_000, b"\x16\x03\x01\xff\xff\x01" + bytes(1_000), b"\xff\xff" + bytes(1_000))
    kinds = (PayloadKind.HTTP_REQUEST, PayloadKind.TLS_CLIENT, PayloadKind.DNS)
    tracemalloc.start()
    for number in range(9_000):
        carrier = row(src_port=number, time=number)
        which = number % 3
        head = PayloadRecord(carrier, kinds[which], begun[which], False, 1_005, 0)
        rest = head._replace(kind=PayloadKind.DNS if which == 2 else PayloadKind.CONTINUED, sequence=1_005)
        bench.pipeline.ingest(rows(), [head, rest])
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < GROWTH + CAPACITY * BYTES
