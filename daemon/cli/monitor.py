"""`remora monitor`: kernel records as they come, with nothing looked up and nothing left out.

For those who ask what the datapath really wrote: numbers of workloads and
Services instead of names, every record kind, losses of this reader.
"""

from __future__ import annotations

import sys

import click

from daemon.cli import jsonpb, options, times
from daemon.cli.client import connect
from daemon.cli.errors import endless
from daemon.cli.flowtext import escape
from daemon.cli.server import Server
from daemon.cli.tables import extra_text
from daemon.proto import remora_pb2


@click.command("monitor")
@options.server_option
@click.option("--last", type=click.IntRange(0), default=0, metavar="N", help="Begin with the last N stored records.")
@click.option("--stored", is_flag=True, help="End after the stored records.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Form.")
def command(server: Server, last: int, stored: bool, output: str) -> None:
    """Raw datapath records as they come."""
    write = jsonpb.line if output == "json" else record_line
    with endless(), connect(server) as client:
        for answer in client.agent.Monitor(remora_pb2.MonitorRequest(last=last, stored_only=stored)):
            if answer.lost:
                click.echo(f"{answer.lost} records lost: this reader was too slow", err=True)
            for record in answer.records:
                sys.stdout.write(write(record) + "\n")
            sys.stdout.flush()


def record_line(record: remora_pb2.Record) -> str:
    """A record on one line: sequence, time, kind, where, the packet, its numbers, the totals."""
    ends = [
        _end(record.source, record.source_port, record.source_workload),
        _end(record.destination, record.destination_port, record.destination_workload),
    ]
    packet = [record.protocol, record.tcp_flags, _icmp(record), f"len {record.length}"]
    notes = [
        "reply" if record.reply else "",
        f"service {record.service}" if record.service else "",
        f"reason {record.reason}" if record.reason else "",
        *record.marks,
    ]
    parts = [
        f"#{record.sequence}",
        times.LAYOUTS["RFC3339Micro"](record.time),
        f"{record.kind} {record.verdict} {record.direction} {record.point} if {record.ifindex}",
        f"{ends[0]} -> {ends[1]}",
        " ".join(part for part in [*packet, *notes] if part),
        extra_text(record.extra),
    ]
    return escape(" | ".join(parts))


def _end(address: str, port: int, workload: int) -> str:
    host = f"[{address}]" if ":" in address and port else address
    return f"{host}{f':{port}' if port else ''} ({workload})"


def _icmp(record: remora_pb2.Record) -> str:
    return f"type {record.icmp_type} code {record.icmp_code}" if record.protocol.startswith("ICMP") else ""
