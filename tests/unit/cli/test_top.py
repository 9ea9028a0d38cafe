"""`remora top` and `remora flows summary`: what they print, and what keys do."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

import pytest

from daemon.cli.screen import Screen
from daemon.flows.traffic import Grouping, Traffic
from daemon.proto import remora_pb2
from tests.unit.api.shop import REQUEST, RESPONSE, FakeView, add_message, rows
from tests.unit.cli.conftest import Remora


class StillFeed:
    """Nothing comes."""

    failure = None


def screen(traffic: Traffic) -> Screen:
    return Screen(cast("Any", StillFeed()), traffic, Grouping.TALKERS, None, None, 1.0)


@pytest.fixture
def busy(view: FakeView, server: str) -> FakeView:
    """Ten connections and one answered request."""
    view.store.append(rows(10, forward_packets=2, forward_bytes=1_000))
    add_message(view, REQUEST, at=11)
    add_message(view, RESPONSE, at=12, reply=True)
    return view


def test_a_summary_tells_who_talks_to_whom(remora: Remora, busy: FakeView) -> None:
    code, out, err = remora("flows", "summary")
    assert (code, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [
        ["CLIENT", "SERVER", "PROTOCOL", "REQ/S", "REQUESTS", "BYTES/S", "ERRORS", "ERR%", "P50", "P90", "P99"],
        ["shop/frontend", "shop/backend-1", "TCP", "0.8", "10", "833B", "0", "0", "-", "-", "-"],
        ["shop/frontend", "shop/backend-1", "HTTP", "0.1", "1", "0B", "0", "0", "325ms", "325ms", "325ms"],
    ]


def test_a_summary_is_json_for_programs_and_takes_filters(remora: Remora, busy: FakeView) -> None:
    code, out, _ = remora("flows", "summary", "-o", "json", "-t", "l7")
    (line,) = json.loads(out)
    assert code == 0
    assert (line["protocol"], line["p99"], line["errors"], line["error_share"]) == ("HTTP", 325_400_000, 0, 0)


def test_a_summary_can_be_grouped_sorted_and_cut(remora: Remora, busy: FakeView) -> None:
    out = remora("flows", "summary", "--by", "services", "--sort", "p99", "--rows", "1")[1]
    assert [line.split()[:2] for line in out.splitlines()] == [["SERVER", "PROTOCOL"], ["shop/backend-1", "HTTP"]]


def test_one_picture_of_what_is_recent(remora: Remora, view: FakeView, server: str) -> None:
    view.clock._offset = time.time_ns()
    view.store.append(rows(3))
    assert "shop/frontend" in remora("top", "--once")[1]
    assert json.loads(remora("top", "--once", "-o", "json")[1])[0]["requests"] == 3


def test_without_a_terminal_top_says_so(remora: Remora, server: str) -> None:
    assert remora("top")[::2] == (2, "remora: remora top needs a terminal; --once prints one picture\n")
    assert remora("top", "--window", "0s")[0] == 2


def test_keys_switch_views_and_orders() -> None:
    shown = screen(Traffic())
    heads = []
    for key in ("", "s", "e", "l", "t", "o", "p"):
        assert shown.press(key)
        heads.append(shown.picture(10, 100)[0])
    assert [head.partition(": ")[2].partition(",")[0] for head in heads] == [
        "talkers by bytes",
        "services by rate",
        "errors by errors",
        "latency by p99",
        "talkers by bytes",
        "talkers by errors",
        "talkers by errors",
    ]
    assert heads[-1].endswith("paused")
    assert not shown.press("q")


@pytest.mark.parametrize(("height", "width"), [(24, 80), (5, 40), (1, 10), (3, 200)])
def test_the_picture_fits_any_screen(height: int, width: int) -> None:
    from tests.unit.flows.test_traffic import flow

    traffic = Traffic()
    for number in range(50):
        traffic.add(flow(client=f"a-client-with-a-long-name-{number}"), remora_pb2.FlowExtra())
    shown = screen(traffic)
    shown._lines = traffic.lines(Grouping.TALKERS, 0)
    picture = shown.picture(height, width)
    assert len(picture) <= height
    assert max(map(len, picture)) < width


def test_the_live_table_runs_in_a_terminal_without_colours(view: FakeView, server: str) -> None:
    view.clock._offset = time.time_ns()
    view.store.append(rows(3))
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "daemon.cli.main", "top", "--server", server, "--interval", "100ms"]
    environment = {**os.environ, "TERM": "vt100", "LINES": "24", "COLUMNS": "100"}
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=subprocess.PIPE, env=environment) as process:
        os.close(slave)
        seen, deadline = b"", time.monotonic() + 15
        while b"shop/frontend" not in seen and time.monotonic() < deadline:
            if select.select([master], [], [], 0.2)[0]:
                seen += os.read(master, 65_536)
        process.send_signal(signal.SIGWINCH)
        os.write(master, b"sq")
        try:
            _, complaint = process.communicate(timeout=10)
        finally:
            process.kill()
    os.close(master)
    assert b"shop/frontend" in seen
    assert (process.returncode, complaint) == (0, b"")


def test_summaries_of_files_need_no_agent(remora: Remora, busy: FakeView, tmp_path: Path) -> None:
    (tmp_path / "flows").write_text(remora("observe", "--all", "-o", "json", "--extra")[1])
    from_file = remora("flows", "summary", "--input-file", str(tmp_path / "flows"))
    assert from_file == remora("flows", "summary")
