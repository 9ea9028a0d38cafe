"""How addresses are read that were written before Kubernetes grew strict."""

from __future__ import annotations

import pytest

from daemon.model.addresses import address_of, network_of


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("10.96.011.012", "10.96.11.12"),
        ("010.000.000.08", "10.0.0.8"),
        ("0.0.0.0", "0.0.0.0"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:0db8::0001", "2001:db8::1"),
    ],
)
def test_zeros_before_a_number_change_nothing(text: str, read: str) -> None:
    assert str(address_of(text)) == read


def test_host_bits_of_a_network_are_cut_off() -> None:
    assert str(network_of("010.001.002.003/08")) == "10.0.0.0/8"
    assert str(network_of("2001:db8::1/32")) == "2001:db8::/32"


@pytest.mark.parametrize("text", ["", "web.example.com", "10.0.0.256", "10.0.0", "10.0.0.1/8", "::g"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        address_of(text)
