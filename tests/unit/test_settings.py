"""Settings of the north side: what can be written, and what is refused with words."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from daemon.settings import Settings, SettingsError


def test_ports_that_hide_clients_become_options() -> None:
    options = Settings(snat_ports="2000-2999").options()
    assert (options.snat_port_first, options.snat_port_last) == (2000, 2999)


@pytest.mark.parametrize("text", ["", "5", "3000-2000", "0-9", "1-70000", "a-b"])
def test_what_is_no_range_of_ports_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="snat_ports"):
        Settings(snat_ports=text).options()


def test_node_port_addresses_are_read_as_networks_of_both_families() -> None:
    found = Settings(nodeport_addresses=("192.0.2.7/24", "2001:db8::/32")).node_port_networks
    assert found == (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))


def test_a_node_port_address_that_is_none_is_refused() -> None:
    with pytest.raises(SettingsError, match="nodeport_addresses"):
        _ = Settings(nodeport_addresses=("somewhere",)).node_port_networks
