"""How the platform is doing. The first screen answers whether everything is landing; what is below says why not."""

from __future__ import annotations

from grafana_foundation_sdk.builders import table
from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from penstock.core.service import State
from penstock.observe import metrics
from penstock.observe.dashboards.panels import (
    BAD_FROM_ONE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    Steps,
    dashboard,
    label_variable,
    levels,
    lines,
    number,
    rows,
    states,
)
from penstock.observe.dashboards.queries import LEDGER, answers, looks_at, or_zero, promql, rate
from penstock.observe.dashboards.servers import add_servers

_CHOSEN = '{data_set=~"$data_set"}'
_SERVICE = '{service=~"$service"}'

_EACH_DATA_SET = f"0 * sum by (data_set) ({metrics.FRESH}{_CHOSEN})"
"""A zero for each data set: what has never happened is 0, and not a hole in a graph."""

_LETTERS = looks_at("dead_letters")

_RATIO: Steps = ((None, GREEN), (0.75, ORANGE), (1, RED))

_LANDING = {"1": ("landing", GREEN), "0": ("late", RED)}

_STATES = {
    State.HEALTHY: GREEN,
    State.STARTING: "blue",
    State.TROUBLED: ORANGE,
    State.STALLED: "dark-red",
    State.DEAD: RED,
    State.STOPPED: GREY,
    State.UNKNOWN: "purple",
}
_NUMBERED = {str(at): (state.value, colour) for at, (state, colour) in enumerate(_STATES.items())}


def platform() -> Dashboard:
    """The dashboard on Prometheus alone."""
    made = dashboard(
        "penstock-platform",
        "Platform health",
        "Whether everything is landing, and what keeps it from it. Thresholds are those of the data sets themselves",
        since="now-3h",
        refresh="15s",
    )
    made.with_variable(label_variable("data_set", "Data set", f"label_values({metrics.FRESH}, data_set)"))
    made.with_variable(label_variable("service", "Service", f"label_values({metrics.SERVICE_WANTED}, service)"))
    for add in (_first_screen, _throughput, _lag, _services, add_servers):
        add(made)
    return made


def _first_screen(made: Dashboard) -> None:
    made.with_panel(
        number(
            "Is it landing?",
            "short",
            promql(f"min by (data_set) ({metrics.FRESH}{_CHOSEN})", "{{data_set}}", instant=True),
            description="Late: the newest data is older than its data set's limit, or nothing has landed yet. Without "
            "data here, the exporter or the ledger is away.",
            words=_LANDING,
            span=24,
        )
    )
    well = f'max by (service) ({metrics.SERVICE_STATE}{{state=~"{State.HEALTHY}|{State.STARTING}"}}) == 1'
    for title, expression, whoever, description in (
        (
            "Services not healthy",
            f"count((max by (service) ({metrics.SERVICE_WANTED}) == 1) unless on (service) ({well}))",
            LEDGER,
            "Those that are wanted, and neither healthy nor just starting.",
        ),
        (
            "Batches not whole",
            f'sum({metrics.BATCHES}{{state="not_whole"}})',
            LEDGER,
            "Runs of the last 7 days whose counts did not agree between two hops.",
        ),
        (
            "Streams not whole",
            f"count({metrics.STREAM_WHOLE} == 0)",
            LEDGER,
            "Streams whose newest interval lost or doubled something when it was counted anew.",
        ),
        ("Dead letters", f"sum({metrics.DEAD_LETTERS})", _LETTERS, "Records that nobody has replayed or dropped yet."),
        (
            "Targets down",
            "count(up == 0)",
            "vector(1)",
            "What Prometheus cannot scrape. A program that nobody wants to run is one of them.",
        ),
        ("Alerts", 'count(ALERTS{alertstate="firing"})', "vector(1)", "Alerts that fire now, of any severity."),
    ):
        query = promql(or_zero(expression, whoever), instant=True)
        made.with_panel(number(title, "short", query, description=description, steps=BAD_FROM_ONE))
    limit = f"max by (data_set) ({metrics.FRESHNESS_LIMIT}{_CHOSEN})"
    age = f"max by (data_set) ({metrics.FRESHNESS_AGE}{_CHOSEN}) / {limit} or on (data_set) {limit} / 0"
    explained = (
        "The age of the newest landed data as a share of the age at which somebody should be told: late from 100% on, "
        "infinite where nothing has landed yet."
    )
    made.with_panel(
        levels(
            "Age against its limit",
            "percentunit",
            promql(age, "{{data_set}}", instant=True),
            description=explained,
            steps=_RATIO,
            most=1.25,
        )
    )
    made.with_panel(
        lines(
            "Age against its limit over time",
            "percentunit",
            promql(age, "{{data_set}}"),
            description=explained,
            limit=1.0,
        )
    )


def _throughput(made: Dashboard) -> None:
    made.with_row(Row("Throughput"))
    landed = f'clamp_min(delta({metrics.RECORDS}{{fate="landed",data_set=~"$data_set"}}[1h]), 0)'
    made.with_panel(
        lines(
            "Records landed by runs in an hour",
            "short",
            promql(f"sum by (data_set) ({landed}) or on (data_set) {_EACH_DATA_SET}", "{{data_set}}"),
            description="In the hour before each moment. Streams have the graph beside this one.",
        )
    )
    made.with_panel(
        lines(
            "Records taken by streams",
            "rps",
            promql(
                or_zero(rate(f"{metrics.STREAM_RECORDS}{_CHOSEN}", "data_set, fate"), LEDGER), "{{data_set}} {{fate}}"
            ),
            description="A second, by what became of them. Repetitions and late records are not in the counts.",
        )
    )
    made.with_panel(
        lines(
            "Batches of the last 7 days",
            "short",
            promql(or_zero(f"sum by (state) ({metrics.BATCHES}{_CHOSEN})", LEDGER), "{{state}}"),
            description="whole: every hop's counts agree; not_whole: some do not; open: not finished.",
            span=8,
            stacked=True,
        )
    )
    refused = f'clamp_min(delta({metrics.RECORDS}{{fate=~"rejected|duplicates",data_set=~"$data_set"}}[1h]), 0)'
    made.with_panel(
        lines(
            "Rejected and repeated by runs in an hour",
            "short",
            promql(or_zero(f"sum by (data_set, fate) ({refused})", LEDGER), "{{data_set}} {{fate}}"),
            description="Rejected records are among the dead letters, with the reason.",
            span=8,
        )
    )
    letters = f"sum by (data_set) ({metrics.DEAD_LETTERS}{_CHOSEN})"
    made.with_panel(
        lines(
            "Dead letters by data set",
            "short",
            promql(or_zero(letters, _LETTERS), "{{data_set}}"),
            description="Records that nobody has replayed or dropped yet.",
            span=8,
        )
    )


def _lag(made: Dashboard) -> None:
    made.with_row(Row("Lag"))
    made.with_panel(
        lines(
            "Records that consumer groups have not taken",
            "short",
            promql(
                or_zero("sum by (group, topic) (kafka_consumergroup_lag_sum)", answers("kafka-lag")),
                "{{group}}: {{topic}}",
            ),
            description="A lag that grows and grows: its consumer is too slow, or does nothing.",
        )
    )
    made.with_panel(
        lines(
            "Records left at a stream's latest commit",
            "short",
            promql(or_zero(f"max by (data_set) ({metrics.STREAM_LAG}{_CHOSEN})", LEDGER), "{{data_set}}"),
            description="Of the stream's own job, which says so itself.",
        )
    )


def _services(made: Dashboard) -> None:
    made.with_row(Row("Services"))
    made.with_panel(
        states(
            "States",
            "short",
            promql(_numbered_states(), "{{service}}"),
            words=_NUMBERED,
            description="As the watch of each service last saw it.",
            span=16,
            height=10,
        )
    )
    made.with_panel(_service_table())
    restarts = f"sum by (service) (increase({metrics.SERVICE_RESTARTS}{_SERVICE}[$__range]))"
    made.with_panel(
        levels(
            "Restarts in the time range",
            "short",
            promql(or_zero(restarts, LEDGER), "{{service}}", instant=True),
            description="By the watch, after the service had died or stalled.",
            steps=((None, GREEN), (1, ORANGE), (5, RED)),
        )
    )
    made.with_panel(
        lines(
            "Since the watch last looked",
            "s",
            promql(or_zero(f"max by (service) ({metrics.SERVICE_SEEN_AGE}{_SERVICE})", LEDGER), "{{service}}"),
            description="A watch that looks no more is an Airflow run that does not run: see the DAG of that name.",
        )
    )


def _numbered_states() -> str:
    """Each service's state by its place in _STATES; UNKNOWN where none has looked, or for the lack of any service."""
    seen = (
        f'{at} * (max by (service) ({metrics.SERVICE_STATE}{{state="{state}",service=~"$service"}}) == 1)'
        for at, state in enumerate(_STATES)
    )
    unknown = list(_STATES).index(State.UNKNOWN)
    unseen = f"{unknown} + 0 * max by (service) ({metrics.SERVICE_WANTED}{_SERVICE})"
    return f"{' or '.join(seen)} or {unseen} or on () {_no_service(unknown)}"


def _no_service(value: int) -> str:
    return f'label_replace({value} + 0 * max({LEDGER}), "service", "none yet", "", "")'


def _service_table() -> table.Panel:
    wanted = f"max by (service) ({metrics.SERVICE_WANTED}{_SERVICE}) or on () {_no_service(0)}"
    seen = f"max by (service, state) ({metrics.SERVICE_STATE}{_SERVICE} == 1) or on () {_no_service(0)}"
    return rows(
        "Wanted and seen",
        "short",
        promql(wanted, instant=True, table=True),
        promql(seen, instant=True, table=True),
        description="wanted is 1 where a person wants the service to run.",
        hidden=("Time", "Value #B"),
        renamed={"Value #A": "wanted"},
        joined=True,
        span=8,
        height=10,
    )
