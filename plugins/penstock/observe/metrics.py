"""The metrics that Penstock's own exporter serves, named once: dashboards and alert rules refer to these.

`data_set` is the name of a pipeline or a stream. Names follow https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A gauge or, with `counter`, a counter whose name ends in `_total`."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    counter: bool = False

    def __str__(self) -> str:
        """The name, as it stands in a query."""
        return self.name


PART_UP = Metric(
    "penstock_exporter_part_up",
    "1 while this part of what the exporter looks at answers: ledger, totals, dead_letters, flume, spools, data",
    ("part",),
)
LEDGER_UP = Metric("penstock_ledger_up", "1 while the ledger answers; without it no other metric of it is served")
FRESHNESS_AGE = Metric(
    "penstock_freshness_age_seconds", "Age of the newest data that landed; absent while none has", ("data_set",)
)
FRESHNESS_LIMIT = Metric("penstock_freshness_limit_seconds", "The age at which somebody should be told", ("data_set",))
FRESH = Metric("penstock_fresh", "1 where something has landed and is not older than its limit", ("data_set",))

BATCHES = Metric(
    "penstock_batches",
    "Batches of the last 7 days by how they stand: whole, open or not_whole",
    ("data_set", "state"),
)
RECORDS = Metric(
    "penstock_records",
    "Records of all batches by what became of them: fetched, acked, landed, rejected, duplicates",
    ("data_set", "fate"),
)
DEAD_LETTERS = Metric("penstock_dead_letters", "Records set aside that nobody has replayed or dropped", ("data_set",))

SERVICE_WANTED = Metric("penstock_service_wanted", "1 where a person wants the service to run", ("service",))
SERVICE_STATE = Metric(
    "penstock_service_state", "1 for the state that the service was last seen in", ("service", "state")
)
SERVICE_SEEN_AGE = Metric("penstock_service_seen_age_seconds", "Time since its watch last looked", ("service",))
SERVICE_RESTARTS = Metric(
    "penstock_service_restarts_total", "Restarts by the watch, of all time", ("service",), counter=True
)

STREAM_RECORDS = Metric(
    "penstock_stream_records_total",
    "Records that the stream's job has taken, by fate: rejected, late, duplicates, counted",
    ("data_set", "fate"),
    counter=True,
)
STREAM_LAG = Metric("penstock_stream_lag_records", "Records that were left at its latest commit", ("data_set",))
STREAM_WHOLE = Metric(
    "penstock_stream_whole", "1 where the newest interval that was counted anew has lost nothing", ("data_set",)
)

FLUME_CHANNEL_SIZE = Metric("penstock_flume_channel_size", "Events in the channel", ("agent", "component"))
FLUME_EVENTS = Metric(
    "penstock_flume_events_total",
    "Flume's own counters of events since the agent's start, by its name of the counter",
    ("agent", "component", "counter"),
    counter=True,
)
FLUME_UP = Metric("penstock_flume_up", "1 while the agent's counters can be read", ("agent",))

SPOOL_BYTES = Metric("penstock_spool_bytes", "Bytes that wait in a spool or log folder", ("spool",))
SPOOL_LIMIT = Metric("penstock_spool_limit_bytes", "Bytes at which its program stops and waits", ("spool",))
DISK_FREE = Metric("penstock_disk_free_bytes", "Bytes that are free where the folder lies", ("spool",))
DISK_FREE_LIMIT = Metric(
    "penstock_disk_free_limit_bytes", "Free bytes below which somebody should be told: PENSTOCK_DISK_FREE_BYTES"
)

POPULATION_CHANGE = Metric(
    "penstock_population_change_ratio", "The newest year's population over the year's before it, less 1", ("nation",)
)
POPULATION_CHANGE_LIMIT = Metric(
    "penstock_population_change_limit_ratio", "The change, up or down, above which somebody should be told"
)
CAR_PRICE_OUTLIERS = Metric(
    "penstock_car_price_outliers",
    "Sales of the last 24 hours whose price is far from the brand's median",
    ("car_brand",),
)
CAR_PRICE_OUTLIERS_LIMIT = Metric(
    "penstock_car_price_outliers_limit", "Such sales of a brand above which somebody should be told"
)
