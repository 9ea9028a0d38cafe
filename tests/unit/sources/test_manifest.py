"""YAML text to values: what is read, what is refused, and at which line."""

from __future__ import annotations

import subprocess
import sys

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.sources.manifest import ManifestError, read_documents


def values(text: str) -> list[object]:
    return [document.value for document in read_documents(text)]


def refusal(text: str) -> ManifestError:
    with pytest.raises(ManifestError) as caught:
        values(text)
    return caught.value


def test_several_documents_empty_ones_included() -> None:
    assert values("a: 1\n---\n---\n- x\n# end\n") == [{"a": 1}, None, ["x"]]


@pytest.mark.parametrize("text", ["", "# only a comment\n"])
def test_a_text_without_documents(text: str) -> None:
    assert values(text) == []


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("80", 80),
        ("-1", -1),
        ("0", 0),
        ('"80"', "80"),
        ("'true'", "true"),
        ("true", True),
        ("off", False),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("!!str 80", "80"),
        ("!!int '80'", 80),
        ("10.0.0.1", "10.0.0.1"),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ("0x50", "0x50"),
        ("12:30", "12:30"),
        ("|\n  two\n  lines", "two\nlines"),
    ],
)
def test_plain_scalars_mean_what_the_api_server_takes_them_for(written: str, value: object) -> None:
    (document,) = values(f"key: {written}")
    assert document == {"key": value}
    assert type(document["key"]) is type(value)


def test_null_is_as_good_as_not_written() -> None:
    assert values("a:\nb: ~\nc: null\nd: [null, 1]") == [{"d": [None, 1]}]


def test_a_label_that_is_null_is_an_empty_one_and_not_any() -> None:
    assert values("s: {matchLabels: {app: , tier: web}, x: null}") == [
        {"s": {"matchLabels": {"app": "", "tier": "web"}}}
    ]


def test_json_is_yaml() -> None:
    assert values('{\n\t"a": [1, "\\u003c", {}],\n\t"b": "x\\/y"\n}\n') == [{"a": [1, "<", {}], "b": "x/y"}]


def test_anchors_and_merge_keys() -> None:
    text = "base: &b {x: 1, y: 2}\nsame: *b\nmore:\n  <<: *b\n  y: 3\nboth: {<<: [*b, {z: 4}]}\n"
    (document,) = values(text)
    assert document == {
        "base": {"x": 1, "y": 2},
        "same": {"x": 1, "y": 2},
        "more": {"x": 1, "y": 3},
        "both": {"x": 1, "y": 2, "z": 4},
    }


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: [1, 2\nc: 3\n", 3, "not YAML"),
        ("a: 1\n\tb: 2\n", 2, "not YAML"),
        ("a: 1\nb: 2\na: 3\n", 3, 'key "a" is written twice'),
        ("a: 1\nb: *nowhere\n", 2, "alias"),
        ("&a [*a]\n", 1, "no anchor before it"),
        ("a: 1\n? [b]\n: c\n", 2, "a key is"),
        ("a: {<<: 1}\n", 1, "not a mapping"),
        ("ok: 1\nbad: \x01\n", 2, "control characters"),
        ("a: 1\n---\nb: 'open\n", 4, "not YAML"),
    ],
)
def test_a_refusal_names_the_line(text: str, line: int, words: str) -> None:
    error = refusal(text)
    assert error.line == line
    assert words in str(error)


@pytest.mark.parametrize("text", ["[" * 300_000, "- " * 100_000, "a: " + "{b: " * 50_000], ids=["[", "- ", "{b: "])
def test_endless_nesting_is_refused_and_does_not_crash_the_process(text: str) -> None:
    script = "import sys; from daemon.sources.manifest import read_documents; list(read_documents(sys.stdin.read()))"
    done = subprocess.run([sys.executable, "-c", script], input=text, text=True, capture_output=True, check=False)
    assert done.returncode == 1
    assert "levels of nesting" in done.stderr


def test_aliases_that_expand_without_end_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    assert "aliases written out" in str(refusal("\n".join(lines)))


def test_a_place_is_found_again_by_its_path() -> None:
    (document,) = read_documents(
        "# head\nspec:\n  ports:\n    - name: a\n      port: 1\n    - name: b\n      port: 2\n"
    )
    assert document.line == 2
    assert document.line_of(("spec", "ports", 1, "port")) == 7
    assert document.line_of(("spec", "ports", 1)) == 6
    assert document.line_of(("spec", "missing")) == 2


plain = st.recursive(
    st.booleans() | st.integers(-(10**9), 10**9) | st.text("abcXYZ 019.:-#'\"\\é\n", max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc-./", min_size=1), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(plain, st.booleans())
def test_what_yaml_writes_is_read_back(value: object, flow: bool) -> None:
    assert values(yaml.safe_dump(value, default_flow_style=flow, allow_unicode=True)) == [value]


@settings(max_examples=300, deadline=None)
@given(st.text("ab:-[]{}&*!|>'\"#%@,? \n\t0~<\x00é", max_size=60))
def test_garbage_is_read_or_refused_and_nothing_else(text: str) -> None:
    line = 0
    try:
        values(text)
    except ManifestError as error:
        line = error.line
    assert 0 <= line <= text.count("\n") + 2
