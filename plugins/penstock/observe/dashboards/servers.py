"""The lower part of the platform's dashboard: each program and server that carries or keeps the data."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from penstock.observe import metrics
from penstock.observe.dashboards.panels import (
    BAD_FROM_ONE,
    GREEN,
    ORANGE,
    RED,
    Steps,
    levels,
    lines,
    number,
)
from penstock.observe.dashboards.queries import answers, or_zero, promql, rate

_FULL: Steps = ((None, GREEN), (0.5, ORANGE), (0.9, RED))
_AIRFLOW, _KAFKA, _INFLUXDB = answers("airflow"), answers("kafka"), answers("influxdb")
_ANSWERS = {"1": ("answers", GREEN), "0": ("away", RED)}


def add_servers(made: Dashboard) -> None:
    """A row each, in the order in which records pass them."""
    for add in (_targets, _collectors, _flume, _airflow, _kafka, _cassandra, _influxdb):
        add(made)


def _targets(made: Dashboard) -> None:
    made.with_row(Row("Programs and servers"))
    made.with_panel(
        number(
            "What Prometheus reaches",
            "short",
            promql("min by (job, app) (up)", "{{job}} {{app}}", instant=True),
            description="Away is also what nobody wants to run, such as a collector that was stopped.",
            words=_ANSWERS,
            span=24,
        )
    )


def _collectors(made: Dashboard) -> None:
    made.with_row(Row("Collectors, spools and log folders"))
    taken = (
        rate("recentchange_collector_events_total", "app"),
        rate("web_events_created_total", "app"),
        rate("price_consumer_events_total", "app, outcome"),
    )
    made.with_panel(
        lines(
            "Events taken up or made",
            "eps",
            promql(" or ".join(taken), "{{app}} {{outcome}}"),
            description="By the collector of recent changes, the producer of web events, and the consumers that count "
            "these.",
            span=8,
        )
    )
    made.with_panel(
        lines(
            "Behind Wikimedia's feed",
            "s",
            promql("max(recentchange_collector_lag_seconds)", "lag"),
            promql("sum(increase(recentchange_collector_lost_seconds_total[$__rate_interval]))", "lost"),
            description="lag: between now and the newest change that was taken. lost: seconds that the feed no "
            "longer had.",
            span=8,
        )
    )
    share = f"max by (spool) ({metrics.SPOOL_BYTES}) / max by (spool) ({metrics.SPOOL_LIMIT})"
    made.with_panel(
        levels(
            "Spools and log folders, full",
            "percentunit",
            promql(share, "{{spool}}", instant=True),
            description="Bytes that Flume has not taken, of those at which their writer stops and waits.",
            steps=_FULL,
            most=1.0,
            span=4,
        )
    )
    made.with_panel(
        number(
            "Least free disk",
            "bytes",
            promql(f"min({metrics.DISK_FREE})", instant=True),
            description="Of the disks on which spools and log folders lie.",
            span=4,
            height=8,
        )
    )


def _flume(made: Dashboard) -> None:
    made.with_row(Row("Flume"))
    made.with_panel(
        number(
            "Agents",
            "short",
            promql(f"max by (agent) ({metrics.FLUME_UP})", "{{agent}}", instant=True),
            description="Whether the agent's counters can be read. An agent may be alive and do nothing: see what it "
            "drains.",
            words=_ANSWERS,
            span=8,
            height=8,
        )
    )
    made.with_panel(
        lines(
            "Events in channels",
            "short",
            promql(f"max by (agent, component) ({metrics.FLUME_CHANNEL_SIZE})", "{{agent}} {{component}}"),
            description="A channel that fills up has a sink that drains nothing.",
            span=8,
        )
    )
    drained = f'{metrics.FLUME_EVENTS}{{counter="EventDrainSuccessCount"}}'
    made.with_panel(
        lines(
            "Events drained by sinks",
            "eps",
            promql(rate(drained, "agent, component"), "{{agent}} {{component}}"),
            description="Taken out of a channel and acknowledged by where they go.",
            span=8,
        )
    )


def _airflow(made: Dashboard) -> None:
    made.with_row(Row("Airflow"))
    runs = "airflow_dagrun_duration_seconds"
    made.with_panel(
        lines(
            "Duration of DAG runs",
            "s",
            promql(
                or_zero(
                    f"sum by (dag_id) (increase({runs}_sum[1h])) / (sum by (dag_id) (increase({runs}_count[1h])) > 0)",
                    _AIRFLOW,
                ),
                "{{dag_id}}",
            ),
            description="Mean of the runs that ended in the hour before each moment.",
        )
    )
    made.with_panel(
        lines(
            "Slots of pools",
            "short",
            promql("max by (pool_name, state) (airflow_pool_slots)", "{{pool_name}} {{state}}"),
            description="Tasks wait where a pool has no open slot.",
        )
    )
    ended = f"sum by (dag_id, state) (increase({runs}_count[$__range]))"
    made.with_panel(
        levels(
            "Runs that ended in the time range",
            "short",
            promql(or_zero(ended, _AIRFLOW), "{{dag_id}} {{state}}", instant=True),
            description="By DAG and state.",
            span=8,
        )
    )
    for title, expression, description, steps in (
        (
            "Failed runs",
            or_zero(f'sum(increase({runs}_count{{state="failed"}}[$__range]))', _AIRFLOW),
            "Of all DAGs, in the time range.",
            BAD_FROM_ONE,
        ),
        (
            "Failed tasks",
            or_zero('sum(increase(airflow_ti_finish_total{state="failed"}[$__range]))', _AIRFLOW),
            "Attempts that a retry may have made good.",
            BAD_FROM_ONE,
        ),
        ("Import errors", "max(airflow_dag_import_errors)", "DAG files that cannot be imported.", BAD_FROM_ONE),
        (
            "Scheduler's heartbeats",
            "sum(rate(airflow_scheduler_heartbeat_total[$__rate_interval]))",
            "A second. Without any, no run begins.",
            ((None, RED), (0.01, GREEN)),
        ),
    ):
        made.with_panel(
            number(title, "short", promql(expression, instant=True), description=description, steps=steps, height=8)
        )


def _kafka(made: Dashboard) -> None:
    made.with_row(Row("Kafka"))
    made.with_panel(
        lines(
            "Messages in by topic",
            "mps",
            promql(or_zero(f"{rate('kafka_topic_messagesinpersec_total', 'topic')} > 0", _KAFKA), "{{topic}}"),
            description="Topics without any are left out.",
            span=8,
        )
    )
    made.with_panel(
        lines(
            "Time to answer, 99th percentile",
            "ms",
            promql('max by (request) (kafka_request_milliseconds{quantile="0.99"})', "{{request}}"),
            description="Of recent requests. A fetch waits for records up to the client's own limit.",
            span=8,
        )
    )
    made.with_panel(
        lines(
            "Size on disk",
            "bytes",
            promql("sum by (topic) (kafka_log_bytes)", "{{topic}}"),
            description="A topic keeps its records up to a size, not an age.",
            span=8,
        )
    )
    for title, expression, description in (
        ("Partitions without a leader", "max(kafka_offlinepartitions)", "They can neither be read nor written."),
        (
            "Under-replicated partitions",
            "sum(kafka_underreplicatedpartitions)",
            "They have fewer replicas in step than they should.",
        ),
        (
            "Failed produce requests",
            or_zero("sum(increase(kafka_topic_failedproducerequestspersec_total[$__range]))", _KAFKA),
            "In the time range, of all topics.",
        ),
    ):
        made.with_panel(
            number(
                title, "short", promql(expression, instant=True), description=description, steps=BAD_FROM_ONE, span=8
            )
        )


def _cassandra(made: Dashboard) -> None:
    made.with_row(Row("Cassandra"))
    made.with_panel(
        lines(
            "Requests",
            "reqps",
            promql(rate("cassandra_requests_total", "request"), "{{request}}"),
            description="Of clients; a batch of rows is one.",
            span=8,
        )
    )
    made.with_panel(
        lines(
            "Time to answer a client, 99th percentile",
            "s",
            promql('max by (request) (cassandra_request_seconds{quantile="0.99"})', "{{request}}"),
            description="Of recent requests.",
            span=8,
        )
    )
    made.with_panel(
        lines(
            "Live data on disk",
            "bytes",
            promql("sum by (instance) (cassandra_live_disk_bytes)", "{{instance}}"),
            description="Of each node.",
            span=8,
        )
    )
    failed = " + ".join(
        f"sum(increase(cassandra_request_{kind}_total[$__range]))" for kind in ("timeouts", "unavailables", "failures")
    )
    for title, expression, description, steps in (
        ("Failed requests", failed, "Timeouts, unavailable replicas and failures in the time range.", BAD_FROM_ONE),
        (
            "Dropped writes",
            "sum(increase(cassandra_dropped_mutations_total[$__range]))",
            "Writes that a node gave up in the time range.",
            BAD_FROM_ONE,
        ),
        (
            "Pending compactions",
            "sum(cassandra_pending_compactions)",
            "Many for long: reads become slow.",
            ((None, GREEN), (20, ORANGE), (100, RED)),
        ),
    ):
        made.with_panel(
            number(title, "short", promql(expression, instant=True), description=description, steps=steps, span=8)
        )


def _influxdb(made: Dashboard) -> None:
    made.with_row(Row("InfluxDB"))
    made.with_panel(
        lines(
            "Answers of the HTTP interface",
            "reqps",
            promql(rate("http_api_requests_total", "path, response_code"), "{{path}} {{response_code}}"),
            description="By path and status. 4xx: who asks is refused. 5xx: InfluxDB fails.",
            span=8,
        )
    )
    made.with_panel(
        lines(
            "Line protocol written",
            "Bps",
            promql(or_zero("sum(rate(http_write_request_bytes[$__rate_interval]))", _INFLUXDB), "written"),
            description="As it came over the network.",
            span=8,
        )
    )
    made.with_panel(
        lines(
            "Shards on disk",
            "bytes",
            promql("sum by (bucket) (storage_shard_disk_size)", "{{bucket}}"),
            description="By the id of the bucket.",
            span=4,
        )
    )
    made.with_panel(
        number(
            "Refused writes",
            "short",
            promql(or_zero("sum(increase(storage_shard_write_err_count[$__range]))", _INFLUXDB), instant=True),
            description="Writes to shards that failed in the time range.",
            steps=BAD_FROM_ONE,
            height=8,
        )
    )
