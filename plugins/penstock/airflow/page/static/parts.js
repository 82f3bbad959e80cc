// What several views are made of.

import { bars } from "./charts.js";
import { h } from "./dom.js";
import { count, interval, span } from "./format.js";

const SIGNS = { whole: "✓", fine: "✓", open: "…", not_whole: "✕", bad: "✕", warn: "!", none: "–" };

/** A word in a coloured field, with a sign for those who don't see colours. */
export function pill(state, text) {
  return h("span", { class: `pill ${state}` }, h("span", { "aria-hidden": "true" }, `${SIGNS[state]} `), text);
}

/** A link to one of Airflow's own pages, `path` below Airflow's address. */
export function airflowLink(path, ...children) {
  return h("a", { href: `../${path}`, "data-airflow": true }, ...children);
}

/** A link to one of this page's views. */
export function viewLink(view, query, ...children) {
  return h("a", { href: `${view}?${new URLSearchParams(query)}` }, ...children);
}

/** What stands where there is nothing to show yet. */
export function empty(title, ...advice) {
  return h("div", { class: "empty" }, h("p", { class: "title" }, title), advice.map((each) => h("p", {}, each)));
}

/**
 * A table whose rows become cards where the page is narrow. `columns` are {name, number, cell(row), wide}; the first
 * one names its row. The roles say that it is a table still where it no longer looks like one.
 */
export function table(caption, columns, rows, key) {
  const head = columns.map((each) =>
    h("th", { scope: "col", role: "columnheader", class: each.number && "number" }, each.name),
  );
  const body = rows.map((row) =>
    h("tr", { role: "row", "data-key": key(row) }, columns.map((each, index) => cell(each, row, index === 0))),
  );
  return h("table", { role: "table" }, [
    h("caption", { class: "unseen" }, caption),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, head)),
    h("tbody", { role: "rowgroup" }, body),
  ]);
}

function cell(column, row, first) {
  const attributes = { "data-label": column.name, class: [column.number && "number", column.wide && "wide"].filter(Boolean).join(" ") || null };
  return first
    ? h("th", { ...attributes, scope: "row", role: "rowheader" }, column.cell(row))
    : h("td", { ...attributes, role: "cell" }, column.cell(row));
}

/** The verdict on a batch or an interval: whole, or in full what is missing where. */
export function verdict(row) {
  return row.state === "whole" ? pill("whole", "whole") : [pill(row.state, row.state === "open" ? "open" : "not whole"), " ", row.verdict];
}

const COUNTS = [
  ["fetched", "Fetched"],
  ["acked", "Acked"],
  ["landed", "Landed"],
  ["rejected", "Rejected"],
  ["duplicates", "Duplicates"],
];

/** A table of batches. */
export function batchTable(caption, rows, { rawCopy = true, pipeline = false } = {}) {
  const numbers = rawCopy ? [...COUNTS, ["raw_copied", "Raw copy"]] : COUNTS;
  return table(
    caption,
    [
      {
        name: "Interval (UTC)",
        cell: (row) => viewLink("batch", { batch_id: row.batch_id }, interval(row.interval_start, row.interval_end)),
      },
      ...(pipeline ? [{ name: "Pipeline", cell: (row) => row.pipeline }] : []),
      ...numbers.map(([key, name]) => ({ name, number: true, cell: (row) => count(row[key]) })),
      { name: "Took", number: true, cell: (row) => span(row.seconds) },
      { name: "Verdict", wide: true, cell: verdict },
    ],
    rows,
    (row) => row.batch_id,
  );
}

/** The records of each batch, the newest right. */
export function batchBars(rows) {
  const shown = [...rows].reverse().map((row) => ({
    value: row.fetched ?? 0,
    state: row.state,
    href: `batch?${new URLSearchParams({ batch_id: row.batch_id })}`,
    title: `${interval(row.interval_start, row.interval_end)}: ${count(row.fetched)} fetched, ${count(row.landed)} landed; ${row.verdict}`,
  }));
  const bad = rows.filter((row) => row.state === "not_whole").length;
  return bars(shown, `Records fetched by each of the last ${rows.length} batches; ${bad} of them not whole`);
}

/** Names and values, without those that are not known. */
export function facts(pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined);
  return h("dl", {}, known.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, typeof value === "number" ? String(value) : value))));
}
