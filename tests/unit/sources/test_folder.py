"""The folder as a whole: what a slip of an editor does to it, and that changes arrive."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from daemon.model.snapshot import Severity, Snapshot
from daemon.model.workload import Node
from daemon.services.compile import compile_services
from daemon.sources import FolderSource, folder

EXAMPLES = Path(__file__).parents[3] / "examples" / "shop"


def service(name: str, ip: str = "10.96.0.1") -> str:
    return (
        f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{clusterIP: {ip}, ports: [{{port: 80}}]}}\n"
    )


class Inbox:
    """Collects snapshots; `next` waits for one that was not looked at yet."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Snapshot] = asyncio.Queue()

    async def next(self) -> Snapshot:
        return await asyncio.wait_for(self.queue.get(), 5)

    async def nothing(self, seconds: float = 0.3) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(self.queue.get(), seconds)


Story = Callable[[FolderSource, Inbox], Awaitable[None]]


def play(path: Path, story: Story) -> None:
    async def run() -> None:
        source, inbox = FolderSource(path), Inbox()
        await source.start(inbox.queue.put_nowait)
        try:
            await asyncio.wait_for(story(source, inbox), 20)
        finally:
            await source.stop()

    asyncio.run(run())


def names(snapshot: Snapshot) -> list[str]:
    return [found.name for found in snapshot.services]


def test_the_first_snapshot_holds_all_files_sorted(tmp_path: Path) -> None:
    (tmp_path / "b.yml").write_text(service("b", "10.96.0.2"))
    (tmp_path / "a.json").write_text('{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}')
    (tmp_path / "c.yaml").write_text(service("z", "10.96.0.3") + "---\n" + service("a"))
    (tmp_path / ".hidden.yaml").write_text(service("hidden"))
    (tmp_path / "notes.txt").write_text("not: [read")
    (tmp_path / "sub.yaml").mkdir()

    async def story(source: FolderSource, inbox: Inbox) -> None:
        snapshot = await inbox.next()
        assert names(snapshot) == ["a", "b", "z"]
        assert [found.name for found in snapshot.namespaces] == ["shop"]
        assert source.problems == ()
        assert 0 <= snapshot.age < 5

    play(tmp_path, story)


def test_changes_new_files_and_removed_files_arrive(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(service("a"))

    async def story(source: FolderSource, inbox: Inbox) -> None:
        assert names(await inbox.next()) == ["a"]
        file.write_text(service("a2"))
        assert names(await inbox.next()) == ["a2"]
        (tmp_path / "b.tmp").write_text(service("b", "10.96.0.2"))
        (tmp_path / "b.tmp").rename(tmp_path / "b.yaml")
        assert names(await inbox.next()) == ["a2", "b"]
        file.unlink()
        assert names(await inbox.next()) == ["b"]

    play(tmp_path, story)


def test_a_broken_file_keeps_its_last_good_version_until_it_is_mended(tmp_path: Path) -> None:
    file, other = tmp_path / "a.yaml", tmp_path / "b.yaml"
    file.write_text(service("a"))
    other.write_text(service("b", "10.96.0.2"))

    async def story(source: FolderSource, inbox: Inbox) -> None:
        await inbox.next()
        file.write_text("kind: Service\nmetadata: {name: [\n")
        snapshot = await inbox.next()
        assert names(snapshot) == ["a", "b"]
        (problem,) = snapshot.problems
        assert (problem.file, problem.line, problem.severity) == (str(file), 3, Severity.ERROR)
        assert "last good version stays" in problem.message
        assert str(problem).startswith(f"{file}:3: error: not YAML")
        other.write_text(service("b2", "10.96.0.2"))
        assert names(await inbox.next()) == ["a", "b2"]
        file.write_text(service("a3"))
        snapshot = await inbox.next()
        assert names(snapshot) == ["a3", "b2"]
        assert snapshot.problems == ()

    play(tmp_path, story)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty now"),
        (b"a: \xff\n", "not UTF-8"),
        (service("a").replace("80", "eighty").encode(), "Expected `int`"),
        (b"[" * 100_000, "levels of nesting"),
    ],
)
def test_every_kind_of_broken_file_keeps_what_was(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(service("a"))

    async def story(source: FolderSource, inbox: Inbox) -> None:
        await inbox.next()
        file.write_bytes(content)
        snapshot = await inbox.next()
        assert names(snapshot) == ["a"]
        assert words in snapshot.problems[0].message

    play(tmp_path, story)


def test_a_file_that_was_always_broken_contributes_nothing_and_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: b: c")
    (tmp_path / "b.yaml").write_text(service("b"))

    async def story(source: FolderSource, inbox: Inbox) -> None:
        snapshot = await inbox.next()
        assert names(snapshot) == ["b"]
        assert "nothing of it is in force" in snapshot.problems[0].message

    play(tmp_path, story)


def test_only_files_that_were_never_read_count_as_unread(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("spec: [")
    (tmp_path / "b.yaml").write_text(service("b"))

    async def story(source: FolderSource, inbox: Inbox) -> None:
        assert (await inbox.next()).unread == (str(tmp_path / "a.yaml"),)
        (tmp_path / "b.yaml").write_text("spec: [")
        assert (await inbox.next()).unread == (str(tmp_path / "a.yaml"),)
        (tmp_path / "a.yaml").write_text(service("a"))
        assert (await inbox.next()).unread == ()

    play(tmp_path, story)


def test_a_folder_that_was_never_there_is_unread(tmp_path: Path) -> None:
    async def story(source: FolderSource, inbox: Inbox) -> None:
        assert (await inbox.next()).unread == (str(tmp_path / "absent"),)

    play(tmp_path / "absent", story)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "big.yaml").open("w") as file:
        os.truncate(file.fileno(), 65 << 20)

    async def story(source: FolderSource, inbox: Inbox) -> None:
        assert "65 MiB are more than 64 MiB" in (await inbox.next()).problems[0].message

    play(tmp_path, story)


def test_what_only_shows_side_by_side_is_noted_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(service("a") + "---\n" + service("twin"))
    orphan = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\nmetadata:\n  name: s\n"
    (tmp_path / "b.yaml").write_text("# slices\n" + orphan + "  labels: {kubernetes.io/service-name: lost}\n")
    (tmp_path / "c.yaml").write_text(service("a"))

    async def story(source: FolderSource, inbox: Inbox) -> None:
        snapshot = await inbox.next()
        told = {str(problem) for problem in snapshot.problems}
        assert told == {
            f"{tmp_path}/a.yaml:6: note: Service default/twin: clusterIP 10.96.0.1 is that of Service default/a; "
            "the ports that both have stay there",
            f"{tmp_path}/b.yaml:2: note: EndpointSlice default/s: there is no Service default/lost; "
            "it has no effect until there is",
            f"{tmp_path}/c.yaml:1: note: Service default/a is also in {tmp_path}/a.yaml:1; this one is used",
        }
        assert names(snapshot) == ["a", "twin"]

    play(tmp_path, story)


def test_a_node_port_that_two_services_claim_is_noted_at_the_second(tmp_path: Path) -> None:
    for name, kind in (("a", "NodePort"), ("b", "LoadBalancer"), ("c", "ClusterIP")):
        text = "apiVersion: v1\nkind: Service\nmetadata: {name: %s}\nspec:\n  type: %s\n  clusterIP: 10.96.0.%d\n"
        ports = "  ports: [{port: 80, nodePort: 30080}, {name: u, port: 80, protocol: UDP, nodePort: 30080}]\n"
        (tmp_path / f"{name}.yaml").write_text(
            text % (name, kind, ord(name)) + ports.replace("30080}]", f"{ord(name)}}}]")
        )

    async def story(source: FolderSource, inbox: Inbox) -> None:
        told = [str(problem) for problem in (await inbox.next()).problems if "is that of" in problem.message]
        message = "Service default/b: nodePort 30080/TCP is that of Service default/a, and stays there"
        assert told == [f"{tmp_path}/b.yaml:1: note: {message}"]

    play(tmp_path, story)


def test_touching_a_file_hands_out_no_new_snapshot(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(service("a"))

    async def story(source: FolderSource, inbox: Inbox) -> None:
        await inbox.next()
        file.touch()
        (tmp_path / "notes.txt").write_text("x")
        await inbox.nothing()

    play(tmp_path, story)


def test_unchanged_files_keep_the_very_same_objects(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(service("a"))

    async def story(source: FolderSource, inbox: Inbox) -> None:
        first = await inbox.next()
        (tmp_path / "b.yaml").write_text(service("b", "10.96.0.2"))
        assert (await inbox.next()).services[0] is first.services[0]

    play(tmp_path, story)


def test_a_burst_of_writes_is_one_change(tmp_path: Path) -> None:
    async def story(source: FolderSource, inbox: Inbox) -> None:
        await inbox.next()
        for number in range(50):
            (tmp_path / f"{number}.yaml").write_text(service(f"s{number}", f"10.96.1.{number}"))
        assert len((await inbox.next()).services) == 50
        await inbox.nothing()

    play(tmp_path, story)


def test_a_folder_that_vanishes_keeps_everything_and_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "RETRY", 0.05)
    path = tmp_path / "manifests"
    path.mkdir()
    (path / "a.yaml").write_text(service("a"))

    async def story(source: FolderSource, inbox: Inbox) -> None:
        await inbox.next()
        shutil.rmtree(path)
        snapshot = await inbox.next()
        assert names(snapshot) == ["a"]
        assert "its last content stays in force" in snapshot.problems[0].message
        path.mkdir()
        (path / "b.yaml").write_text(service("b"))
        while names(snapshot) != ["b"]:
            snapshot = await inbox.next()
        (path / "c.yaml").write_text(service("c", "10.96.0.3"))
        assert names(await inbox.next()) == ["b", "c"]

    play(path, story)


def test_a_folder_that_comes_late_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "RETRY", 0.05)
    path = tmp_path / "late"

    async def story(source: FolderSource, inbox: Inbox) -> None:
        snapshot = await inbox.next()
        assert snapshot.services == ()
        assert "the folder cannot be read" in snapshot.problems[0].message
        path.mkdir()
        (path / "a.yaml").write_text(service("a"))
        while names(snapshot) != ["a"]:
            snapshot = await inbox.next()
        assert snapshot.problems == ()

    play(path, story)


def test_files_behind_swapped_symlinks_are_followed(tmp_path: Path) -> None:
    for version, name in (("v1", "old"), ("v2", "new")):
        (tmp_path / f"..{version}").mkdir()
        (tmp_path / f"..{version}" / "a.yaml").write_text(service(name))
    (tmp_path / "..data").symlink_to("..v1")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")

    async def story(source: FolderSource, inbox: Inbox) -> None:
        assert names(await inbox.next()) == ["old"]
        (tmp_path / "..tmp").symlink_to("..v2")
        (tmp_path / "..tmp").rename(tmp_path / "..data")
        assert names(await inbox.next()) == ["new"]

    play(tmp_path, story)


def test_a_listener_that_fails_does_not_stop_the_source(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        source, inbox = FolderSource(tmp_path), Inbox()

        def listener(snapshot: Snapshot) -> None:
            inbox.queue.put_nowait(snapshot)
            if names(snapshot) == ["a"]:
                raise RuntimeError("listener failed")

        await source.start(listener)
        await inbox.next()
        (tmp_path / "a.yaml").write_text(service("a"))
        await inbox.next()
        (tmp_path / "a.yaml").write_text(service("b"))
        assert names(await inbox.next()) == ["b"]
        await source.stop()

    asyncio.run(run())
    assert "a change was not taken over" in caplog.text


def test_the_example_is_in_order_and_compiles() -> None:
    async def story(source: FolderSource, inbox: Inbox) -> None:
        snapshot = await inbox.next()
        assert snapshot.problems == ()
        assert snapshot.ignored == ()
        assert {found.name for found in snapshot.namespaces} == {found.namespace for found in snapshot.pods}
        pods = {address for pod in snapshot.pods for address in pod.addresses}
        table = compile_services(snapshot, Node("here"))
        counts = {
            (entry.key.name.name, entry.key.name.port_name, entry.key.family): entry.count for entry in table.entries
        }
        assert counts == {
            ("backend", "http", 4): 3,
            ("backend", "http", 6): 3,
            ("kube-dns", "dns", 4): 1,
            ("kube-dns", "dns-tcp", 4): 1,
            ("payments", "http", 4): 1,
        }
        assert {str(ip) for entry in table.entries for ip, _ in entry.targets()} <= pods

    play(EXAMPLES, story)
