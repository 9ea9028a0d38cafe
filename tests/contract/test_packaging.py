"""The list of packages is written by hand, so it is compared with the disk."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_package_on_the_disk_is_listed_and_none_else() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = [
        ".".join(file.parent.relative_to(ROOT).parts)
        for top in ("bpf_programs", "ebpf", "daemon")
        for file in (ROOT / top).rglob("__init__.py")
    ]
    assert sorted(listed) == sorted(found)


def test_every_c_file_is_shipped() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    folder = ROOT / "bpf_programs"
    shipped = {file for pattern in patterns["bpf_programs"] for file in folder.glob(pattern)}
    assert {file for end in ("*.c", "*.h") for file in folder.rglob(end)} <= shipped
