// The long-running services, as their watches last saw them.

import { h } from "./dom.js";
import { ago, count } from "./format.js";
import { airflowLink, empty, pill, table } from "./parts.js";

const BUSY = new Set(["starting", "unknown"]);

/** What waits is asked of Kafka, which may take its time: until it is known, what was known before is shown. */
let known = {};

export async function draw(get, query, again) {
  const { services } = await get("services");
  get("lags").then((found) => {
    if (JSON.stringify(found) === JSON.stringify(known)) return;
    known = found;
    again();
  }, () => undefined); // what is away is said by the view itself
  return [
    h("h1", {}, "Services"),
    services.length === 0
      ? empty("No service has been looked at yet.", "Each is watched by a DAG of its own, service_NAME: unpause these DAGs.")
      : table("Services", COLUMNS, services, (row) => row.name),
  ];
}

const COLUMNS = [
  { name: "Service", cell: (row) => [h("span", { class: "strong" }, row.title), h("span", { class: "note" }, row.name)] },
  { name: "State", cell: (row) => pill(row.fine ? "fine" : BUSY.has(row.state) ? "open" : "bad", row.state) },
  { name: "Since", cell: (row) => h("time", { datetime: row.since, title: row.since }, ago(row.since)) },
  { name: "Reason", wide: true, cell: (row) => [row.reason, !row.fine && h("span", { class: "note" }, row.runbook)] },
  { name: "Lag", number: true, cell: (row) => lag(known[row.name]) },
  { name: "Restarts in a day", number: true, cell: (row) => count(row.restarts) },
  { name: "Wanted", cell: (row) => [row.desired, h("span", { class: "note" }, `by ${row.desired_by}`)] },
  { name: "Watched by", cell: (row) => airflowLink(`dags/${row.dag_id}`, row.dag_id) },
];

function lag(found) {
  if (!found) return "–";
  if (found.waiting === null) return h("span", { title: found.lacking }, "unknown");
  return [count(found.waiting), h("span", { class: "note" }, found.unit)];
}
