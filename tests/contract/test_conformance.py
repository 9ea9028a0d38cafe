"""The published table of service cases names every case that there is, and none that there is not."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.conformance.services.live.catalogue import CASES
from tests.conformance.services.live.document import documented
from tests.conformance.services.live.pending import PENDING
from tests.support.conformance import Result

ROOT = Path(__file__).parents[2]
LIVE = ROOT / "tests" / "conformance" / "services" / "live"
COLLECT = """
import json, sys, pytest
from tests.support.conformance import case_of
class Names:
    def pytest_collection_finish(self, session):
        self.names = [case_of(item) for item in session.items]
names = Names()
code = pytest.main(["--collect-only", "-q", sys.argv[1]], plugins=[names])
print(json.dumps(names.names))
sys.exit(code)
"""


@cache
def collected() -> list[str]:
    """The case of every live test; "" for one that says none."""
    argv = [sys.executable, "-c", COLLECT, str(LIVE)]
    done = subprocess.run(argv, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True)
    names: list[str] = json.loads(done.stdout.splitlines()[-1])
    return names


def test_every_live_test_is_a_case_with_a_name_of_its_own() -> None:
    assert "" not in collected()
    assert len(set(collected())) == len(collected())


def test_every_case_of_the_catalogue_has_a_test() -> None:
    assert {name.partition("/")[0] for name in collected()} == set(CASES)


def test_the_document_lists_exactly_the_cases_that_exist() -> None:
    assert set(documented()) == set(collected())


def test_pending_cases_exist() -> None:
    assert set(PENDING) <= {*collected(), *CASES}


def test_the_published_run_left_nothing_out_and_nothing_failed() -> None:
    assert set(documented().values()) <= {Result.PASSED, Result.PENDING}
