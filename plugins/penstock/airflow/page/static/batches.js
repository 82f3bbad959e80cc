// All batches of one pipeline, a page at a time.

import { h } from "./dom.js";
import { batchBars, batchTable, empty, viewLink } from "./parts.js";

export async function draw(get, query) {
  const pipeline = query.get("pipeline") ?? "";
  const before = query.get("before");
  const page = await get("batches", before ? { pipeline, before } : { pipeline });
  return [
    h("p", { class: "back" }, h("a", { href: "./" }, "Data sets")),
    h("h1", {}, pipeline),
    page.batches.length > 0 && batchBars(page.batches),
    page.batches.length > 0
      ? batchTable(`Batches of ${pipeline}`, page.batches)
      : empty("No batch here.", `The first run of the DAG ${pipeline} makes one.`),
    h("p", { class: "more" }, [
      before && viewLink("batches", { pipeline }, "Newest"),
      page.next && viewLink("batches", { pipeline, before: page.next }, "Older"),
    ]),
  ].filter(Boolean);
}
