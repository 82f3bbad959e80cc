"""The ledger's rows as a table for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import chain

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from penstock.ledger.store import LedgerRow

_WIDEST = 100_000
_LEFT_ALIGNED = frozenset({"pipeline", "interval (UTC)", "verdict"})


def render_rows(rows: Sequence[LedgerRow]) -> RenderedRows:
    """One row per batch, for `Console.print`."""
    return RenderedRows(rows)


class RenderedRows:
    """A table that wraps its verdicts on a terminal wide enough, and elsewhere has one line a batch, however long."""

    def __init__(self, rows: Sequence[LedgerRow]) -> None:
        self._rows = rows
        self._with_duplicates = any(row.duplicates for row in rows)
        self._with_raw_copies = any(row.raw_copied is not None for row in rows)
        self._cells = [self._cells_of(row) for row in rows]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Called by rich."""
        # The console may have been told to wrap nothing; the table's own columns know better.
        within = options.update(no_wrap=False, overflow="fold")
        table = self._table()
        narrowest = Measurement.get(console, within.update(width=_WIDEST), table).minimum
        if console.is_terminal and narrowest <= options.max_width:
            yield from console.render(table, within)
        else:
            yield Text("\n".join(self._lines()), no_wrap=True, overflow="ignore")
        yield Text(self._summary())

    @property
    def _names(self) -> list[str]:
        duplicates = ["duplicates"] if self._with_duplicates else []
        raw_copies = ["raw copy"] if self._with_raw_copies else []
        counts = ["fetched", "acked", "landed", *raw_copies, "rejected", *duplicates]
        return ["pipeline", "interval (UTC)", *counts, "seconds", "verdict"]

    def _cells_of(self, row: LedgerRow) -> list[str]:
        duplicates = [row.duplicates] if self._with_duplicates else []
        raw_copies = [row.raw_copied] if self._with_raw_copies else []
        counts = [row.fetched, row.acked, row.landed, *raw_copies, row.rejected, *duplicates]
        seconds = "-" if row.took is None else f"{row.took.total_seconds():.1f}"
        return [row.pipeline, _interval(row), *map(_count, counts), seconds, row.verdict]

    def _table(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD)
        for name in self._names:
            table.add_column(
                name,
                justify="left" if name in _LEFT_ALIGNED else "right",
                no_wrap=name != "verdict",
                overflow="fold",
            )
        for row, cells in zip(self._rows, self._cells, strict=True):
            verdict = Text(cells[-1], style="green" if row.whole else "bold red")
            table.add_row(*map(Text, cells[:-1]), verdict)
        return table

    def _lines(self) -> Iterator[str]:
        names = self._names
        widths = [max(map(len, column)) for column in zip(names, *self._cells, strict=True)]
        for cells in chain([names], self._cells):
            aligned = (
                cell.ljust(width) if name in _LEFT_ALIGNED else cell.rjust(width)
                for name, cell, width in zip(names, cells, widths, strict=True)
            )
            yield "  ".join(aligned).rstrip()

    def _summary(self) -> str:
        total, whole = len(self._rows), sum(row.whole for row in self._rows)
        return f"{total} {'batch' if total == 1 else 'batches'}, {whole} whole, {total - whole} not"


def _count(value: int | None) -> str:
    return "-" if value is None else str(value)


def _interval(row: LedgerRow) -> str:
    """`2026-11-01 06:00 - 07:00`, with the end's date where it is another one."""
    start, end = row.interval_start, row.interval_end
    return f"{_minute(start)} - {end:%H:%M}" if start.date() == end.date() else f"{_minute(start)} - {_minute(end)}"


def _minute(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M}"
