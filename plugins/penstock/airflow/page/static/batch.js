// One batch hop by hop: where did my rows go.

import { meter } from "./charts.js";
import { h } from "./dom.js";
import { count, interval, plural, span, time } from "./format.js";
import { airflowLink, facts, pill, table, verdict, viewLink } from "./parts.js";

const HOPS = { produce: "Produce", land: "Land", reconcile: "Reconcile" };
const STATES = { done: "fine", failed: "bad", running: "open" };

export async function draw(get, query) {
  return drawBatch(get, query.get("batch_id") ?? "");
}

export async function drawBatch(get, batchId) {
  const batch = await get("batch", { batch_id: batchId });
  return [
    h("p", { class: "back" }, h("a", { href: "./" }, "Data sets"), " / ", viewLink("batches", { pipeline: batch.pipeline }, batch.pipeline)),
    h("h1", {}, interval(batch.interval_start, batch.interval_end), " UTC"),
    h("p", { class: "lead" }, verdict(batch)),
    h("section", { class: "card" }, h("h2", {}, "Where did my rows go"), way(batch.steps)),
    ...batch.hops.map(hop),
    about(batch),
  ];
}

function way(steps) {
  const most = Math.max(1, ...steps.map((each) => each.records ?? 0));
  return h(
    "ol",
    { class: "way" },
    steps.map((each) =>
      h("li", { class: `${each.kind} ${each.missing ? "gap" : ""} ${each.records === null ? "ahead" : ""}`, "data-key": each.hop + each.name }, [
        h("span", { class: "name" }, each.name),
        h("span", { class: "records" }, count(each.records)),
        meter(each.records ?? 0, most, each.missing ? "bad" : each.kind),
        h("span", { class: "note" }, each.missing ? [pill("bad", gap(each.missing)), " "] : null, each.records === null ? "not yet" : each.note),
      ]),
    ),
  );
}

function gap(missing) {
  return missing > 0 ? `${count(missing)} missing here` : `${count(-missing)} too many here`;
}

function hop(each) {
  const name = HOPS[each.hop];
  return h("section", { class: "card", "data-key": each.hop }, [
    h("div", { class: "head" }, h("h2", {}, name), pill(STATES[each.state], each.state), h("p", { class: "links" }, [
      each.log && airflowLink(each.log, "Task log"),
    ])),
    each.error && h("p", { class: "error" }, each.error),
    facts([
      ["Attempts", each.attempts],
      ["Started", `${time(each.started, true)} UTC`],
      ["Took", each.state === "running" ? null : span(each.seconds)],
      ["Run", each.run ? airflowLink(each.run, each.run_id) : each.run_id],
      ["Try", each.try_number],
      ["As of", each.as_of && `${time(each.as_of, true)} UTC`],
      ["Topic", each.topic],
      ["Schema id", each.schema_id],
      ["Others' records among the offsets", each.foreign_read],
      ["Verdict", each.verdict],
    ]),
    ranges(`Offsets of ${each.topic}`, each.ranges),
    ranges("Claimed of what others wrote", each.claimed),
  ]);
}

function ranges(caption, rows) {
  if (rows.length === 0) return null;
  const columns = [
    { name: "Partition", number: true, cell: (row) => String(row.partition) },
    { name: "From offset", number: true, cell: (row) => count(row.start) },
    { name: "Before offset", number: true, cell: (row) => count(row.end) },
  ];
  return h("details", {}, [
    h("summary", {}, `${caption}: ${plural(rows.length, "range", "ranges")}`),
    table(caption, columns, rows, (row) => `${row.partition}:${row.start}`),
  ]);
}

function about(batch) {
  const options = Object.keys(batch.options).length > 0;
  return h("section", { class: "card", "data-key": "about" }, [
    h("h2", {}, "Batch"),
    facts([["Id", batch.batch_id], ["Started", `${time(batch.started, true)} UTC`], ["Took", span(batch.seconds)]]),
    options && h("details", {}, h("summary", {}, "Options of the run"), h("pre", {}, JSON.stringify(batch.options, null, 2))),
  ]);
}
