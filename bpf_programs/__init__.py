"""The kernel side of remora: C sources for BCC, shipped as package data beside this file."""

from pathlib import Path

ROOT = Path(__file__).parent
"""Folder that holds the C sources and their include/ tree."""
