"""What the compiler sees of the kernel's symbols."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bpf_programs import ROOT
from ebpf.symbols import SYMBOLS


def test_the_compiler_sees_the_one_symbol_that_bcc_looks_for_and_nobody_else_does() -> None:
    program = f"from ebpf.symbols import shorten; shorten(); print(open({SYMBOLS!r}).read(), end='')"
    environment = {**os.environ, "PYTHONPATH": str(ROOT.parent)}
    child = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=30
    )
    assert [line.split()[2] for line in child.stdout.splitlines()] == ["bpf_probe_read_kernel"]
    names = {line.split()[2] for line in Path(SYMBOLS).read_text().splitlines()}
    assert "bpf_probe_read_kernel" in names, "what the compiler is told is so"
    assert len(names) > 1
