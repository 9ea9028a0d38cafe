"""Tells systemd how the service is doing, where it was started by systemd (sd_notify(3))."""

from __future__ import annotations

import os
import socket


def ready() -> None:
    """The agent serves."""
    _send("READY=1")


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
