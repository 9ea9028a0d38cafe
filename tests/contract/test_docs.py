"""Words are held to the truth: what the documents name must exist, and what exists must be named."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from bpf_programs import ROOT as PROGRAMS
from daemon.cli.main import cli

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()


def test_every_map_of_the_programs_is_in_the_architecture_and_none_else() -> None:
    headers = sorted((PROGRAMS / "include").glob("*maps.h"))
    source = "".join(one.read_text() for one in headers).replace("\n", " ")
    tables = re.findall(r'BPF_TABLE_PINNED\("\w+",\s*[\w ]+,\s*[\w ]+,\s*(\w+),', source)
    rings = re.findall(r"\bRING\((\w+), \w+\);", source)
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", ARCHITECTURE.partition("\n## Maps\n")[2], re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert len(tables) >= 10
    assert documented == {*tables, *rings}


COMMAND = re.compile(r"^(?:\$ )?(?:sudo )?(?:-E )?(?:\S*/)?remora (.+?)(?:\s+#.*)?$", re.MULTILINE)
CODE = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_OUTPUT = re.compile(r"\d+\.\d+")  # the first line of a status
OPERATE = (ROOT / "docs" / "operate.md").read_text()


@pytest.mark.parametrize(("document", "text"), [("README.md", README), ("docs/operate.md", OPERATE)])
def test_every_remora_command_of_the_documents_exists_with_its_options(document: str, text: str) -> None:
    lines = [line for block in CODE.findall(text) for line in COMMAND.findall(block) if not _OUTPUT.match(line)]
    assert len(lines) >= 5
    for line in lines:
        words = line.split()
        command: click.Command = cli
        while isinstance(command, click.Group) and not words[0].startswith("-"):
            name = words.pop(0)
            found = command.get_command(click.Context(command), name)
            assert found, f"`remora {line}` of {document}: no command {name}"
            command = found
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in words if word.startswith("-")} <= known, line


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    wanted = set(re.findall(r"sudo make ([a-z]+)", README))
    assert {"demo", "test", "install"} <= wanted <= targets


def test_files_and_folders_that_the_readme_names_exist() -> None:
    for name in re.findall(r"\]\(([\w/.]+)\)|`((?:daemon|examples|docs|bpf_programs)/[\w/.]*)`", README):
        path = ROOT / (name[0] or name[1])
        assert path.exists(), path
