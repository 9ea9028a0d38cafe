"""One cluster of three nodes for all cases, and the record of what became of each."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from tests.conformance.services.live.document import renew
from tests.conformance.services.live.pending import PENDING
from tests.support.cluster import Cluster, cluster
from tests.support.conformance import Outcomes, Result, case_of, expect_pending

OUTCOMES = Outcomes({})


@pytest.fixture(scope="session")
def live(root: None, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Cluster]:
    """Three nodes with pods and agents, and clients outside."""
    with cluster(tmp_path_factory.mktemp("live"), xdp=pytestconfig.getoption("--xdp")) as made:
        yield made


@pytest.fixture(params=["IPv4", "IPv6"])
def family(request: pytest.FixtureRequest) -> str:
    """The addresses that a case is tried with; IPv6 is the suites' dual-stack group."""
    return str(request.param)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    expect_pending(items, PENDING)
    OUTCOMES.results.update((name, Result.NOT_RUN) for item in items if (name := case_of(item)))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.CallInfo[None], None]:
    outcome = yield
    if name := case_of(item):
        OUTCOMES.note(name, outcome.get_result())  # type: ignore[attr-defined]


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.getoption("--write-conformance"):
        renew(OUTCOMES.results)
