import threading

import pytest

from penstock.core.errors import Fatal
from penstock.stack.lifecycle import TASKS, Task, run_in_order, start_order
from penstock.stack.servers import SERVERS


def nothing(*_):
    """A task's work, where only the order matters."""


def test_everything_starts_after_what_it_needs():
    nodes = {each.name: each for each in (*SERVERS, *TASKS)}
    begun = []
    run_in_order(nodes, lambda node: begun.append(node.name), threading.Event())
    assert sorted(begun) == sorted(nodes)
    for name, node in nodes.items():
        assert all(begun.index(needed) < begun.index(name) for needed in node.needs)


def test_a_stop_goes_in_the_reverse_order_of_needs():
    order = start_order(SERVERS)
    assert sorted(order) == sorted(server.name for server in SERVERS)
    assert order.index("postgres") < order.index("registry")
    assert order.index("postgres") < order.index("airflow-scheduler")


def test_independent_servers_start_side_by_side():
    both = threading.Barrier(2, timeout=10)
    nodes = {name: Task(name, nothing) for name in ("kafka", "cassandra")}
    run_in_order(nodes, lambda _: both.wait(), threading.Event())


def test_the_first_error_ends_the_start_and_tells_the_others():
    stop = threading.Event()

    def work(node):
        if node.name == "kafka":
            raise Fatal("Kafka did not start")
        assert stop.wait(10)

    nodes = {"kafka": Task("kafka", nothing), "cassandra": Task("cassandra", nothing)}
    nodes["airflow"] = Task("airflow", nothing, ("kafka",))
    with pytest.raises(Fatal, match="Kafka did not start"):
        run_in_order(nodes, work, stop)
