"""Tells systemd how the service is doing, where it was started by systemd (sd_notify(3))."""

from __future__ import annotations

import os
import socket
import time


def ready() -> None:
    """The agent serves."""
    _send("READY=1")


def reloading() -> None:
    """The agent takes over its settings anew; ready() tells when it has."""
    _send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")


def alive() -> None:
    """The agent's loop runs; to be told at least every `watchdog()` seconds."""
    _send("WATCHDOG=1")


def watchdog() -> float:
    """Seconds within which systemd wants to hear of us, halved for safety; 0 where it does not watch."""
    told = os.environ.get("WATCHDOG_USEC", "")
    return int(told) / 2e6 if told.isdigit() else 0.0


def stopping() -> None:
    """The agent ends on purpose."""
    _send("STOPPING=1")


def _send(message: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto(message.encode(), address)
