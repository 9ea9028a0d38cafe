"""The files for systemd say what the code says, and systemd accepts them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from daemon import sample
from daemon.settings import Settings
from daemon.settings_file import parse
from ebpf.capabilities import AGENT

SYSTEMD = Path(__file__).parents[2] / "systemd"
UNIT = SYSTEMD / "remora.service"
SCORE = 3.5  # of systemd's exposure, 0 to 10

needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")


def test_the_sample_is_made_from_the_settings() -> None:
    assert sample.PATH.read_text() == sample.sample()


def test_every_setting_says_what_it_is() -> None:
    assert list(sample.documented()) == list(Settings.__struct_fields__)


def test_the_sample_with_its_defaults_in_force_means_the_defaults() -> None:
    lines = sample.sample().splitlines()
    values = "\n".join(line[1:] for line in lines if re.match(r"#\w+:", line))
    assert list(yaml.safe_load(values)) == list(Settings.__struct_fields__)
    assert parse(values, "sample") == Settings()


def test_the_unit_leaves_the_agent_just_the_capabilities_that_it_keeps() -> None:
    (told,) = re.findall(r"^CapabilityBoundingSet=(.*)$", UNIT.read_text(), re.MULTILINE)
    assert set(told.split()) == {f"CAP_{one.name}" for one in AGENT}


@needs_systemd
def test_the_unit_is_valid(tmp_path: Path) -> None:
    unit = tmp_path / "remora.service"
    unit.write_text(UNIT.read_text().replace("/opt/remora/bin/remora", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_the_unit_is_sandboxed() -> None:
    argv = ["systemd-analyze", "security", "--offline=true", str(UNIT)]
    told = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    (score,) = re.findall(r"exposure level for remora.service: ([\d.]+)", told)
    assert float(score) <= SCORE
