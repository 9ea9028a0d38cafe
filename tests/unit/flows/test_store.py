"""The flow store: ring, sequence numbers, followers, rate."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest

from daemon.flows.l7 import HttpMessage, MessageRing
from daemon.flows.rate import RateMeter
from daemon.flows.record import RowArray
from daemon.flows.store import FlowStore
from tests.support.layouts import dtype, flow_dtype


def _numbered(start: int, count: int) -> RowArray:
    array = np.zeros(count, flow_dtype())
    array["time"] = np.arange(start, start + count)
    array["comm"][:, 0] = array["time"] % 251
    return array


def test_what_was_appended_is_read_back_with_its_sequence_numbers() -> None:
    store = FlowStore(flow_dtype(), 16)
    store.append(_numbered(0, 10))
    read = store.read(3, 7)
    assert (read.start, read.stop, read.rows["time"].tolist()) == (3, 7, [3, 4, 5, 6])
    assert (store.head, store.tail, store.seen, len(store)) == (10, 0, 10, 10)


@pytest.mark.parametrize("batch", [1, 3, 7, 16, 40])
def test_the_ring_keeps_the_last_records_whatever_the_batch_size(batch: int) -> None:
    store = FlowStore(flow_dtype(), 16)
    for start in range(0, 200, batch):
        store.append(_numbered(start, batch))
    read = store.read(0, store.head + 5)
    assert read.start == store.tail == store.head - 16
    assert read.rows["time"].tolist() == list(range(store.head - 16, store.head))
    assert (read.rows["comm"][:, 0] == read.rows["time"] % 251).all()


def test_a_reader_sees_how_many_records_it_was_too_slow_for() -> None:
    store = FlowStore(flow_dtype(), 8)
    store.append(_numbered(0, 20))
    assert store.read(5, 20).start - 5 == 7


@pytest.mark.parametrize(("start", "stop"), [(20, 30), (5, 2), (12, 12)])
def test_a_range_without_records_is_empty(start: int, stop: int) -> None:
    store = FlowStore(flow_dtype(), 8)
    store.append(_numbered(0, 20))
    assert len(store.read(start, stop).rows) == 0


def test_rows_of_another_layout_are_refused() -> None:
    with pytest.raises(ValueError, match="another layout"):
        FlowStore(flow_dtype(), 8).append(np.zeros(1, dtype("conn")))


def test_rows_that_are_not_contiguous_are_stored_right() -> None:
    store = FlowStore(flow_dtype(), 8)
    store.append(_numbered(0, 12)[::3])
    assert store.read(0, 8).rows["time"].tolist() == [0, 3, 6, 9]


def test_a_reader_beside_a_fast_writer_never_gets_a_torn_or_shifted_row() -> None:
    store = FlowStore(flow_dtype(), 64)
    done = threading.Event()

    def write() -> None:
        for start in range(0, 60_000, 48):
            store.append(_numbered(start, 48))
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    reads = 0
    while not done.is_set():
        read = store.read(store.tail, store.head)
        assert read.rows["time"].tolist() == list(range(read.start, read.stop))
        assert (read.rows["comm"][:, 0] == read.rows["time"] % 251).all()
        reads += 1
    writer.join()
    assert reads > 10


def test_a_follower_wakes_up_when_its_record_arrives_from_another_thread() -> None:
    store = FlowStore(flow_dtype(), 8)

    async def follow() -> int:
        threading.Timer(0.02, store.append, [_numbered(0, 1)]).start()
        threading.Timer(0.04, store.append, [_numbered(1, 2)]).start()
        await asyncio.wait_for(store.wait(2), 2)
        return store.head

    assert asyncio.run(follow()) == 3
    assert store.followers == 0


def test_waiting_for_a_record_that_is_there_returns_at_once() -> None:
    store = FlowStore(flow_dtype(), 8)
    store.append(_numbered(0, 3))
    asyncio.run(asyncio.wait_for(store.wait(2), 1))


def test_a_follower_that_was_cancelled_leaves_nothing_behind() -> None:
    store = FlowStore(flow_dtype(), 8)

    async def give_up() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(store.wait(0), 0.01)

    asyncio.run(give_up())
    assert store.followers == 0
    store.append(_numbered(0, 1))


def test_messages_are_found_by_the_number_in_a_record() -> None:
    store = FlowStore(flow_dtype(), 8)
    message = HttpMessage("GET", "http://x/", "HTTP/1.1")
    assert store.message(store.messages.put(message)) == message
    assert store.message(0) is None


def test_the_message_ring_forgets_the_oldest_when_slots_run_out() -> None:
    ring = MessageRing(slots=4, size=4_096)
    refs = [ring.put(HttpMessage("GET", f"/{number}", "HTTP/1.1")) for number in range(6)]
    kept = [message.url if isinstance(message, HttpMessage) else None for message in map(ring.get, refs)]
    assert kept == [None, None, "/2", "/3", "/4", "/5"]


def test_the_message_ring_forgets_the_oldest_when_bytes_run_out() -> None:
    ring = MessageRing(slots=64, size=256)
    messages = [HttpMessage("GET", f"/{number:050}", "HTTP/1.1") for number in range(30)]
    refs = [ring.put(message) for message in messages]
    kept = [ring.get(ref) for ref in refs]
    assert kept[-2:] == messages[-2:]
    assert kept[:-4] == [None] * 26


def test_a_message_larger_than_the_ring_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        MessageRing(slots=4, size=64).put(HttpMessage("GET", "/" * 100, "HTTP/1.1"))


def test_the_rate_is_that_of_the_last_minute_only() -> None:
    now = [100.0]
    meter = RateMeter(lambda: now[0])
    meter.add(6_000)
    now[0] += 10
    assert meter.rate() == pytest.approx(600)
    now[0] += 49
    assert meter.rate() == pytest.approx(6_000 / 59)
    now[0] += 2
    assert meter.rate() == 0
    meter.add(60)
    assert meter.rate() == pytest.approx(1)
