import socket
from pathlib import Path

import pytest

from penstock.core.errors import Fatal
from penstock.core.settings import raw_copy_metrics_url, raw_copy_port
from penstock.stack.layout import DEFAULT_PORTS, Layout, choose_ports, port_is_free


@pytest.fixture
def layout(tmp_path) -> Layout:
    return Layout(var=tmp_path / "var", cache=tmp_path / "cache", env_file=tmp_path / ".env")


def test_ports_are_the_documented_ones_unless_moved(layout):
    assert choose_ports(layout, {}) == DEFAULT_PORTS
    assert choose_ports(layout, {"PENSTOCK_PORT_AIRFLOW": "9999"})["airflow"] == 9999


def test_free_ports_differ_and_stay_the_same_over_a_restart(layout):
    first = choose_ports(layout, {"PENSTOCK_PORTS": "free"})
    assert len(set(first.values())) == len(DEFAULT_PORTS)
    assert choose_ports(layout, {"PENSTOCK_PORTS": "free"}) == first


@pytest.mark.parametrize("setting", [{"PENSTOCK_PORT_KAFKA": "70000"}, {"PENSTOCK_PORT_KAFKA": "x"}])
def test_a_port_that_is_none_is_refused_by_name(layout, setting):
    with pytest.raises(Fatal, match="PENSTOCK_PORT_KAFKA"):
        choose_ports(layout, setting)


def test_an_unknown_port_mode_is_refused(layout):
    with pytest.raises(Fatal, match="fixed or free"):
        choose_ports(layout, {"PENSTOCK_PORTS": "random"})


def test_a_port_in_use_is_noticed():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert not port_is_free(listener.getsockname()[1])


def test_folders_can_be_moved_by_the_environment():
    layout = Layout.from_env({"PENSTOCK_VAR": "/a", "PENSTOCK_CACHE": "/b", "PENSTOCK_ENV_FILE": "/c"})
    assert (layout.var, layout.cache, layout.env_file) == (Path("/a"), Path("/b"), Path("/c"))


AGENTS = ["flume-tides-hdfs", "flume-quakes-hdfs"]


@pytest.mark.parametrize("mode", ["fixed", "free"])
def test_the_agent_of_a_data_set_keeps_its_port_whatever_comes_and_goes(layout, mode):
    settings = {"PENSTOCK_PORTS": mode}
    first = choose_ports(layout, settings, AGENTS[:1])["flume_tides_hdfs"]
    both = choose_ports(layout, settings, AGENTS)
    assert both["flume_tides_hdfs"] == first != both["flume_quakes_hdfs"]
    choose_ports(layout, settings)
    assert choose_ports(layout, settings, AGENTS[1:])["flume_quakes_hdfs"] == both["flume_quakes_hdfs"]
    moved = choose_ports(layout, settings | {"PENSTOCK_PORT_FLUME_TIDES_HDFS": "4711"}, AGENTS)
    assert moved["flume_tides_hdfs"] == 4711
    told = {"PENSTOCK_VAR": str(layout.var)}
    assert raw_copy_metrics_url("flume-tides-hdfs", told) == "http://127.0.0.1:4711/metrics"


def test_agents_whose_names_come_to_one_port_get_two(layout, monkeypatch):
    monkeypatch.setattr("penstock.stack.layout.raw_copy_port", lambda agent: 22_000)
    chosen = choose_ports(layout, {}, AGENTS)
    assert {chosen["flume_tides_hdfs"], chosen["flume_quakes_hdfs"]} == {22_000, 22_001}


def test_no_default_port_can_be_taken_by_an_outgoing_connection() -> None:
    first_ephemeral = 32768  # Linux's ip_local_port_range
    assert max(DEFAULT_PORTS.values()) < first_ephemeral
    assert max(raw_copy_port(f"flume-{number}-hdfs") for number in range(2_000)) < first_ephemeral
