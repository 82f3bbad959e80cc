"""When the servers that are judged by what they count are ready."""

import pytest
import responses

from penstock.core.settings import PROJECT
from penstock.stack import ready
from penstock.stack.context import HOST, Context
from penstock.stack.env import read_env, write_env
from penstock.stack.layout import DEFAULT_PORTS, Layout


@pytest.fixture
def context(tmp_path) -> Context:
    write_env(tmp_path / ".env", PROJECT / ".env.example")
    layout = Layout(var=tmp_path / "var", cache=tmp_path / "cache", env_file=tmp_path / ".env")
    return Context(layout, read_env(tmp_path / ".env"), dict(DEFAULT_PORTS))


def _namenode(api, **beans) -> None:
    for name, figures in beans.items():
        api.get(
            f"http://{HOST}:{DEFAULT_PORTS['hdfs_http']}/jmx?qry=Hadoop:service=NameNode,name={name}",
            json={"beans": [figures] if figures else []},
        )


@pytest.mark.parametrize(
    ("status", "lacking"),
    [({"State": "active"}, None), ({"State": "standby"}, "its state is standby"), (None, "not started yet")],
)
def test_a_namenode_is_ready_when_it_is_active(context, status, lacking):
    with responses.RequestsMock() as api:
        _namenode(api, NameNodeStatus=status)
        assert ready.namenode(context) == lacking


def test_a_namenode_that_does_not_answer_is_not_ready(context):
    with responses.RequestsMock():
        assert ready.namenode(context) == "ConnectionError"


@pytest.mark.parametrize(
    ("live", "safe_mode", "lacking"),
    [
        (1, "", None),
        (0, "", "not registered with the NameNode"),
        (1, "Safe mode is ON", "the NameNode is in safe mode"),
    ],
)
def test_a_datanode_is_ready_when_files_can_be_written(context, live, safe_mode, lacking):
    with responses.RequestsMock() as api:
        _namenode(api, NameNodeInfo={"Safemode": safe_mode}, FSNamesystemState={"NumLiveDataNodes": live})
        assert ready.datanode(context) == lacking


@pytest.mark.parametrize(
    ("counting", "lacking"),
    [
        (["SOURCE.files", "CHANNEL.kafka", "SINK.one", "SINK.two"], None),
        (["SOURCE.files", "CHANNEL.kafka", "SINK.one"], "no counters of SINK.two"),
        ([], "no counters of SOURCE.files, CHANNEL.kafka, SINK.one, SINK.two"),
    ],
)
def test_an_agent_is_ready_when_each_of_its_components_counts(context, counting, lacking):
    conf = context.layout.conf("flume")
    conf.mkdir(parents=True)
    lines = ("agent.sources = files", "agent.channels=kafka", "agent.sinks = one two", "agent.sinks.one.type = hdfs")
    (conf / "agent.conf").write_text("\n".join(lines))
    with responses.RequestsMock() as api:
        api.get(f"http://{HOST}:{DEFAULT_PORTS['flume_pop_spool']}/metrics", json={each: {} for each in counting})
        assert ready.flume(context, agent="agent", port="flume_pop_spool") == lacking


def test_an_agent_without_metrics_is_not_ready(context):
    with responses.RequestsMock():
        assert ready.flume(context, agent="agent", port="flume_pop_spool") == "ConnectionError"
