"""The setting `metrics`: Hubble's syntax, and what is told of a mistake."""

from __future__ import annotations

import pytest

from daemon.flows.metrics import MetricsError, parse
from daemon.flows.metrics.options import Context, Flag, Handler, Label, Place


def test_an_entry_of_hubbles_documentation_is_understood() -> None:
    (config,) = parse(["drop:sourceContext=identity|pod;destinationEgressContext=dns|ip;labelsContext=source_app"])
    assert config.handler is Handler.DROP
    assert config.contexts == {
        Place.SOURCE: (Context.IDENTITY, Context.POD),
        Place.DESTINATION_EGRESS: (Context.DNS, Context.IP),
    }
    assert config.labels == (Label.SOURCE_APP,)


def test_one_text_may_hold_several_entries_as_hubbles_flag_does() -> None:
    assert [one.handler.value for one in parse(["dns:query drop tcp", "flow"])] == ["dns", "drop", "tcp", "flow"]


def test_options_are_on_by_their_name_and_off_by_false() -> None:
    (dns,) = parse(["dns:query;ignoreAAAA=false"])
    assert dns.flags == {Flag.QUERY}
    assert parse(["httpV2:exemplars=true"])[0].flags == {Flag.EXEMPLARS}


def test_labels_stand_in_hubbles_order_whatever_the_entry_says() -> None:
    (config,) = parse(["flow:labelsContext=traffic_direction,destination_pod,source_ip"])
    assert [label.value for label in config.labels] == ["source_ip", "destination_pod", "traffic_direction"]


def test_no_setting_means_everything_and_an_empty_one_nothing() -> None:
    assert {one.handler for one in parse(None)} == set(Handler)
    assert parse([]) == ()


@pytest.mark.parametrize(
    ("entry", "words", "hint"),
    [
        ("kafka", "no such metric: 'kafka'", "port-distribution"),
        ("drop:sourceContex=pod", "no option 'sourceContex'", "sourceContext"),
        ("drop:sourceContext=pods", "no such sourceContext: 'pods'", "pod-name"),
        ("drop:sourceContext=pod|", "no such sourceContext: ''", "pod-name"),
        ("drop:labelsContext=source_port", "no such label in labelsContext: 'source_port'", "source_pod"),
        ("drop:query", "no option 'query'", "labelsContext"),
        ("dns:query=perhaps", "'query=perhaps' is neither on nor off", "true or false"),
    ],
)
def test_a_mistake_is_told_with_what_would_be_right(entry: str, words: str, hint: str) -> None:
    with pytest.raises(MetricsError, match="metrics: ") as caught:
        parse([entry])
    assert words in str(caught.value)
    assert entry in str(caught.value) or entry == "kafka"
    assert hint in caught.value.hint


def test_a_metric_that_is_named_twice_is_refused() -> None:
    with pytest.raises(MetricsError, match="tcp is named twice"):
        parse(["tcp", "drop tcp:sourceContext=pod"])
