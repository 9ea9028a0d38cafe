"""Kernel time and wall time."""

from __future__ import annotations

from daemon.flows.clock import Clock


class _Times:
    def __init__(self) -> None:
        self.monotonic = 5 * 10**9
        self.wall = 1_000 * 10**9

    def clock(self) -> Clock:
        return Clock(lambda: self.monotonic, lambda: self.wall)

    def pass_seconds(self, seconds: int, wall_error_ns: int = 0) -> None:
        self.monotonic += seconds * 10**9
        self.wall += seconds * 10**9 + wall_error_ns


def test_wall_and_kernel_time_are_each_other_s_inverse() -> None:
    clock = _Times().clock()
    assert clock.wall_ns(6 * 10**9) == 1_001 * 10**9
    assert clock.monotonic_ns(clock.wall_ns(123_456_789)) == 123_456_789


def test_drift_of_the_wall_clock_does_not_move_flows() -> None:
    times = _Times()
    clock = times.clock()
    before = clock.wall_ns(7)
    times.pass_seconds(10, wall_error_ns=2_000_000)
    assert clock.wall_ns(7) == before


def test_a_step_of_the_wall_clock_is_followed() -> None:
    times = _Times()
    clock = times.clock()
    before = clock.wall_ns(7)
    times.pass_seconds(10, wall_error_ns=3_600 * 10**9)
    assert clock.wall_ns(7) == before + 3_600 * 10**9
    assert clock.now_ns() == times.wall
