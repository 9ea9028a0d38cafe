"""Ending signals: heard while resting, kept while busy."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from daemon.demo.signals import Interrupted, resting


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_came_while_busy_is_heard_at_the_next_rest(number: signal.Signals) -> None:
    with resting() as rest:
        os.kill(os.getpid(), number)
        sum(range(1000))  # busy, and not disturbed
        with pytest.raises(Interrupted) as heard:
            rest.sleep(5.0)
    assert heard.value.exit_code == 128 + number


def test_a_signal_ends_a_rest_at_once() -> None:
    with resting() as rest:
        start = time.monotonic()
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
        with pytest.raises(Interrupted, match="SIGTERM"):
            rest.sleep(5.0)
    assert time.monotonic() - start < 2.0


def test_a_rest_without_signals_lasts_as_long_as_asked() -> None:
    with resting() as rest:
        start = time.monotonic()
        rest.sleep(0.1)
    assert time.monotonic() - start >= 0.1


def test_a_stream_that_can_be_read_ends_a_rest_and_one_that_cannot_does_not() -> None:
    reading, writing = os.pipe()
    with resting() as rest, os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb", buffering=0) as other:
        assert not rest.readable(stream, 0.05)
        other.write(b"x")
        assert rest.readable(stream, 5.0)


def test_former_handlers_are_back_afterwards() -> None:
    before = signal.getsignal(signal.SIGINT)
    with resting():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
