"""The ledger's rows as a table for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from penstock.ledger.store import LedgerRow
from penstock.ledger.stream_verdicts import StreamRow

_WIDEST = 100_000
_INTERVAL = "interval (UTC)"
_VERDICT = "verdict"
_LEFT_ALIGNED = frozenset({"pipeline", "stream", _INTERVAL, _VERDICT})


def render_rows(rows: Sequence[LedgerRow]) -> RenderedRows:
    """One row per batch, for `Console.print`."""
    with_duplicates = any(row.duplicates for row in rows)
    with_raw_copies = any(row.raw_copied is not None for row in rows)

    def counts(row: LedgerRow) -> dict[str, int | None]:
        copies = {"raw copy": row.raw_copied} if with_raw_copies else {}
        duplicates = {"duplicates": row.duplicates} if with_duplicates else {}
        hops = {"fetched": row.fetched, "acked": row.acked, "landed": row.landed}
        return hops | copies | {"rejected": row.rejected} | duplicates

    def cells(row: LedgerRow) -> dict[str, str]:
        seconds = "-" if row.took is None else f"{row.took.total_seconds():.1f}"
        shown = {name: _count(number) for name, number in counts(row).items()}
        return {"pipeline": row.pipeline, _INTERVAL: _interval(row), **shown, "seconds": seconds, _VERDICT: row.verdict}

    return RenderedRows([cells(row) for row in rows], [row.whole for row in rows], ("batch", "batches"))


def render_streams(rows: Sequence[StreamRow]) -> RenderedRows:
    """One row per interval of a stream, for `Console.print`."""
    with_late = any(row.late for row in rows)

    def cells(row: StreamRow) -> dict[str, str]:
        hops = {"collected": row.collected, "in Kafka": row.on_topic, "raw on HDFS": row.raw_copied}
        late = {"late": _count(row.late)} if with_late else {}
        # The places where minutes are counted agree, or the verdict says how they differ.
        counted = "/".join(str(number) for number in dict.fromkeys(row.aggregated.values()))
        shown = {name: _count(number) for name, number in hops.items()} | {"in minutes": counted} | late
        return {"stream": row.stream, _INTERVAL: _interval(row), **shown, _VERDICT: row.verdict}

    return RenderedRows([cells(row) for row in rows], [row.whole for row in rows], ("interval", "intervals"))


class RenderedRows:
    """A table that wraps its verdicts on a terminal wide enough, and elsewhere has one line a row, however long.

    `cells` are the rows, {column: text}, all with the same columns; `unit` is what a row is, in singular and plural.
    """

    def __init__(self, cells: Sequence[Mapping[str, str]], whole: Sequence[bool], unit: tuple[str, str]) -> None:
        self._names = list(cells[0]) if cells else []
        self._cells = [list(each.values()) for each in cells]
        self._whole = whole
        self._unit = unit

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Called by rich."""
        # The console may have been told to wrap nothing; the table's own columns know better.
        within = options.update(no_wrap=False, overflow="fold")
        table = self._table()
        narrowest = Measurement.get(console, within.update(width=_WIDEST), table).minimum
        if console.is_terminal and narrowest <= options.max_width:
            yield from console.render(table, within)
        elif self._cells:
            yield Text("\n".join(self._lines()), no_wrap=True, overflow="ignore")
        yield Text(self._summary())

    def _table(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD)
        for name in self._names:
            table.add_column(
                name,
                justify="left" if name in _LEFT_ALIGNED else "right",
                no_wrap=name != _VERDICT,
                overflow="fold",
            )
        for whole, cells in zip(self._whole, self._cells, strict=True):
            verdict = Text(cells[-1], style="green" if whole else "bold red")
            table.add_row(*map(Text, cells[:-1]), verdict)
        return table

    def _lines(self) -> Iterator[str]:
        widths = [max(map(len, column)) for column in zip(self._names, *self._cells, strict=True)]
        for cells in chain([self._names], self._cells):
            aligned = (
                cell.ljust(width) if name in _LEFT_ALIGNED else cell.rjust(width)
                for name, cell, width in zip(self._names, cells, widths, strict=True)
            )
            yield "  ".join(aligned).rstrip()

    def _summary(self) -> str:
        total, whole = len(self._whole), sum(self._whole)
        return f"{total} {self._unit[total != 1]}, {whole} whole, {total - whole} not"


def _count(value: int | None) -> str:
    return "-" if value is None else str(value)


def _interval(row: LedgerRow | StreamRow) -> str:
    """`2026-11-01 06:00 - 07:00`, with the end's date where it is another one."""
    start, end = row.interval_start, row.interval_end
    return f"{_minute(start)} - {end:%H:%M}" if start.date() == end.date() else f"{_minute(start)} - {_minute(end)}"


def _minute(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M}"
