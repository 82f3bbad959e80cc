// The batches of one run of Airflow: beside its tasks, in Airflow's page of the run.

import { drawBatch } from "./batch.js";
import { h } from "./dom.js";
import { batchTable, empty } from "./parts.js";

export async function draw(get, query) {
  const { batches } = await get("run", { dag_id: query.get("dag_id") ?? "", run_id: query.get("run_id") ?? "" });
  if (batches.length === 1) return drawBatch(get, batches[0].batch_id);
  if (batches.length === 0) {
    return empty(
      "The ledger has no batch of this run.",
      "A run that moves records writes its batches down as it goes; one that a later run has repeated is shown there.",
    );
  }
  return [h("h1", {}, "Batches of this run"), batchTable("Batches of this run", batches, { pipeline: true })];
}
