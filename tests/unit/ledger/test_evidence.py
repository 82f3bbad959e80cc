from typing import Any

import pytest

from penstock.core.contract import Contract
from penstock.core.errors import Fatal
from penstock.ledger.cassandra_rows import RowKey, _select, row_key
from penstock.ledger.decoding import _physical


def contract(required_value: bool = True, clustering: bool = True, **layout: Any) -> Contract:
    cell = "double" if required_value else ["null", "double"]
    cassandra = {
        "partitionKey": ["place", "month"],
        "clusteringKey": ["time", "level"] if clustering else [],
        "buckets": {"month": {"of": "time", "by": "month"}},
    }
    return Contract(
        {
            "type": "record",
            "name": "Reading",
            "penstock": {"key": ["place", "time", "level"], "eventTime": "time", "cassandra": layout or cassandra},
            "fields": [
                {"name": "place", "type": "string"},
                {"name": "time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
                {"name": "level", "type": "int"},
                {"name": "value", "type": ["null", {"type": "int", "logicalType": "date"}], "default": None},
                {"name": "cell", "type": cell},
            ],
        }
    )


def test_a_row_s_write_time_is_that_of_a_column_that_is_never_null() -> None:
    assert _select("readings", contract()) == (
        'SELECT "time", "level", WRITETIME("cell") FROM "readings"'
        ' WHERE "place" = ? AND "month" = ? AND "time" >= ? AND "time" <= ?'
    )


def test_where_every_column_may_be_null_all_are_asked() -> None:
    assert 'WRITETIME("value"), WRITETIME("cell")' in _select("readings", contract(required_value=False))


def test_a_table_without_clustering_is_read_by_partition() -> None:
    assert _select("readings", contract(clustering=False)).endswith('WHERE "place" = ? AND "month" = ?')


def test_a_contract_without_a_table_is_refused() -> None:
    with pytest.raises(Fatal, match="no Cassandra layout"):
        _select("readings", contract(partitionKey=[]))


@pytest.mark.parametrize(
    ("time", "month"),
    [(0, "1970-01"), (-1, "1969-12"), (1_793_491_199_999, "2026-10"), (1_793_491_200_000, "2026-11")],
)
def test_a_row_s_key_has_the_month_of_its_time_in_utc(time: int, month: str) -> None:
    record = {"place": "Bodø", "time": time, "level": 2, "cell": 1.0}
    assert row_key(contract(), record) == RowKey(("Bodø", month), (time, 2))


def test_logical_types_are_read_as_their_numbers() -> None:
    types = [field["type"] for field in _physical(contract().schema)["fields"]]
    assert types == ["string", "long", "int", ["null", "int"], "double"]
