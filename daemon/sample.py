"""The settings file as a sample: every setting, commented out, with its default, its unit and its reason.

Made from the settings themselves, so that it cannot say anything else. `python -m daemon.sample` writes it.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec
import yaml

from daemon import settings

PATH = Path(__file__).parent.parent / "systemd" / "config.yaml"
_HEAD = """\
# Settings of remora. Lines that are commented out show the defaults.
# `remora config check` reads this file and names a mistake by its line; `systemctl reload remora` takes over what can
# be changed while the agent runs and says what takes a restart. A restart touches no traffic.
"""
_WIDTH = 118


def sample() -> str:
    """The text of the sample."""
    return _HEAD + "".join(_entry(name, words) for name, words in documented().items())


def documented() -> dict[str, str]:
    """What each setting says of itself, in the order of the source."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(settings.Settings))).body
    assert isinstance(tree, ast.ClassDef)
    found: dict[str, str] = {}
    name = ""
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
        elif name and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            found[name] = " ".join(str(node.value.value).split())
            name = ""
    return found


def _entry(name: str, words: str) -> str:
    lines = textwrap.wrap(words, _WIDTH, break_long_words=False, break_on_hyphens=False)
    shown = yaml.safe_dump({name: _plain(getattr(settings.Settings(), name))}, default_flow_style=True, width=1000)
    return "\n" + "".join(f"# {line}\n" for line in lines) + f"#{shown.strip()[1:-1]}\n"


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else msgspec.to_builtins(value)


if __name__ == "__main__":
    PATH.write_text(sample())
