// All data sets: how fresh each is, and its last batches or intervals.

import { bars, meter } from "./charts.js";
import { h } from "./dom.js";
import { count, interval, plural, span, time } from "./format.js";
import { batchBars, batchTable, empty, pill, table, verdict, viewLink } from "./parts.js";

const LAST = 5;

export async function draw(get) {
  const [sets, { services }, letters] = await Promise.all([get("data-sets"), get("services"), get("letter-counts")]);
  return [
    h("h1", { class: "unseen" }, "Data sets"),
    tiles(sets, services, letters),
    ...sets.pipelines.map(pipeline),
    ...sets.streams.map(stream),
    sets.pipelines.length + sets.streams.length === 0 &&
      empty("There is no data set that you may see.", "Airflow has not read the DAGs yet, or you may read none of them."),
  ].filter(Boolean);
}

function tiles(sets, services, letters) {
  const open = Object.values(letters).reduce((sum, each) => sum + each, 0);
  const all = [...sets.pipelines, ...sets.streams];
  const judged = all.filter((each) => each.freshness);
  const fresh = judged.filter((each) => each.freshness.fresh).length;
  const rows = all.flatMap((each) => each.batches ?? each.intervals);
  const bad = rows.filter((each) => each.state === "not_whole").length;
  const fine = services.filter((each) => each.fine).length;
  return h("ul", { class: "tiles", "data-key": "tiles" }, [
    tile("Fresh", `${fresh} of ${judged.length}`, fresh === judged.length, "data sets within their limit"),
    tile("Not whole", count(bad), bad === 0, `of the last ${plural(rows.length, "batch", "batches")} and intervals`),
    tile("Services", `${fine} of ${services.length}`, fine === services.length, "as a person wants them", "services"),
    tile("Dead letters", count(open), open === 0, "neither replayed nor dropped", "dead-letters"),
  ]);
}

function tile(name, value, fine, note, view = null) {
  const inside = [h("span", { class: "name" }, name), h("span", { class: "value" }, value), h("span", { class: "note" }, note)];
  return h("li", { class: fine ? "fine" : "bad", "data-key": name }, view ? h("a", { href: view }, inside) : inside);
}

function pipeline(each) {
  const rows = each.batches;
  return card(each, [
    rows.length > 0 && batchBars(rows),
    rows.length > 0
      ? batchTable(`The last batches of ${each.name}`, rows.slice(0, LAST), { rawCopy: each.raw_copy })
      : empty("No batch yet.", `The first run of the DAG ${each.name} makes one: unpause it, or trigger it.`),
    rows.length > 0 && h("p", { class: "more" }, viewLink("batches", { pipeline: each.name }, `All batches of ${each.name}`)),
  ]);
}

function stream(each) {
  const rows = each.intervals;
  return card(each, [
    rows.length > 0 && streamBars(rows),
    rows.length > 0
      ? intervalTable(each.name, rows.slice(0, LAST))
      : empty("No hour has been counted yet.", `The DAG ${each.name} counts each hour once it is over: unpause it.`),
  ]);
}

function card(each, inside) {
  const id = `set-${each.name}`;
  return h("section", { class: "card", "aria-labelledby": id, "data-key": each.name }, [
    h("div", { class: "head" }, h("h2", { id }, each.name), freshness(each.freshness), h("p", { class: "note" }, `topic ${each.topic}`)),
    ...inside,
  ]);
}

function freshness(judged) {
  if (!judged) return null;
  if (judged.age === null) {
    return h("div", { class: "freshness" }, pill("bad", "never landed"), h("span", {}, `limit ${span(judged.limit)}`));
  }
  const state = judged.fresh ? "fine" : "bad";
  return h("div", { class: "freshness" }, [
    pill(state, judged.fresh ? "fresh" : "stale"),
    h("span", { title: `landed up to ${time(judged.newest)} UTC` }, `${span(judged.age)} old, limit ${span(judged.limit)}`),
    meter(judged.age, judged.limit, state),
  ]);
}

function streamBars(rows) {
  const shown = [...rows].reverse().map((row) => ({
    value: row.on_topic,
    state: row.state,
    href: `./#${row.interval_start}`,
    title: `${interval(row.interval_start, row.interval_end)}: ${count(row.on_topic)} on the topic; ${row.verdict}`,
  }));
  const bad = rows.filter((row) => row.state === "not_whole").length;
  return bars(shown, `Records on the topic in each of the last ${rows.length} intervals; ${bad} of them not whole`);
}

function intervalTable(name, rows) {
  const places = [...new Set(rows.flatMap((row) => Object.keys(row.aggregated)))];
  return table(
    `The last counted intervals of ${name}`,
    [
      { name: "Interval (UTC)", cell: (row) => interval(row.interval_start, row.interval_end) },
      { name: "Collected", number: true, cell: (row) => count(row.collected) },
      { name: "On the topic", number: true, cell: (row) => count(row.on_topic) },
      { name: "Raw copy", number: true, cell: (row) => count(row.raw_copied) },
      ...places.map((place) => ({ name: `Minutes: ${place}`, number: true, cell: (row) => count(row.aggregated[place]) })),
      { name: "Late", number: true, cell: (row) => count(row.late) },
      { name: "Verdict", wide: true, cell: verdict },
    ],
    rows,
    (row) => row.interval_start + row.interval_end,
  );
}
