// One dead letter: why it was set aside, where it came from, what it says.

import { h } from "./dom.js";
import { count, time } from "./format.js";
import { batchLink, stateOf } from "./letters.js";
import { empty, facts, viewLink } from "./parts.js";
import { actions } from "./replay.js";

/** Its value is read from Kafka once. */
export const still = true;

export async function draw(get, query) {
  const row = await get("dead-letter", { letter: query.get("letter") ?? "" });
  return [
    h("p", { class: "back" }, viewLink("dead-letters", { state: row.state }, "Dead letters")),
    h("div", { class: "head" }, [
      h("h1", {}, `Letter ${row.id}`),
      stateOf(row),
      row.state === "open" && actions(row.replay_by, "", row.id),
    ]),
    h("p", { class: "error" }, row.reason),
    h("section", { class: "card", "data-key": "origin" }, h("h2", {}, "Where it came from"), facts([
      ["Data set", row.data_set],
      ["Batch", batchLink(row)],
      ["Record", row.source_topic ? place(row.source_topic, row.source_partition, row.source_offset) : "never on its topic"],
      ["Set aside", `${time(row.written, true)} UTC`],
      ["Kept in", place(row.topic, row.partition, row.offset)],
      ["Resolved", row.resolved && `${time(row.resolved, true)} UTC by ${row.resolved_by}`],
      ["Why", row.why],
    ])),
    h("section", { class: "card", "data-key": "value" }, h("h2", {}, "Value"), value(row)),
  ];
}

function place(topic, partition, offset) {
  return `${topic}, partition ${partition}, offset ${offset}`;
}

function value(row) {
  if (row.value === null) return empty("The value can't be read now.", `${row.lacking}.`);
  return [
    h("p", { class: "note" }, `${count(row.bytes)} bytes${row.cut ? ", of which the beginning is shown" : ""}`),
    row.undecoded && h("p", { class: "note" }, `As it lies in Kafka: ${row.undecoded}`),
    h("pre", { tabindex: 0, "aria-label": "Value" }, row.value),
  ];
}
