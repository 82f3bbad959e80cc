// Replaying and dropping: a run of a DAG, started through Airflow's own API by the person who is logged in.

import { h, patchChildren } from "./dom.js";
import { plural } from "./format.js";
import { airflowLink } from "./parts.js";

const WORDS = {
  replay: ["Replay", "puts each record on its topic again, where it lands once."],
  drop: ["Drop", "notes of each that nobody needs it any more. It stays on its topic and is not landed."],
};

/** The buttons. They act on the letter `id`, or where none is given on those that are selected. */
export function actions(dag, of, id = null) {
  if (!dag) return h("p", { class: "note" }, "To replay or drop them takes the permission to start runs of the DAG maintenance.");
  return h("p", { class: "actions" }, Object.entries(WORDS).map(([action, [name]]) =>
    h("button", { type: "button", "data-action": action, "data-dag": dag, "data-letter": id, "aria-label": `${name} ${of}`.trim() }, name),
  ));
}

/** What a click on one of the buttons does. */
export function act(event) {
  const button = event.target.closest?.("button[data-action]");
  if (!button) return;
  const ids = button.dataset.letter ? [Number(button.dataset.letter)] : selected();
  ask(button.dataset.action, button.dataset.dag, ids);
}

function selected() {
  return [...document.querySelectorAll("input[name=letter]:checked")].map((each) => Number(each.value));
}

function ask(action, dag, ids) {
  const [name, effect] = WORDS[action];
  const dialog = document.getElementById("dialog");
  const close = h("button", { type: "button" }, ids.length ? "Cancel" : "Close");
  close.addEventListener("click", () => dialog.close());
  if (ids.length === 0) {
    say(dialog, [h("p", {}, "Select the letters first, by the boxes before them."), h("p", { class: "actions" }, close)]);
    return;
  }
  const why = action === "drop" ? h("input", { type: "text", maxlength: 1000 }) : null;
  const go = h("button", { type: "button", class: "go" }, name);
  go.addEventListener("click", () => start(dialog, dag, why?.value ? { [action]: ids, why: why.value } : { [action]: ids }));
  say(dialog, [
    h("h2", {}, `${name} ${plural(ids.length, "dead letter", "dead letters")}?`),
    h("p", {}, `A run of the DAG ${dag} ${effect}`),
    ...(why ? [h("label", { class: "field" }, "Why, to be kept with them", why)] : []),
    h("p", { class: "actions" }, go, close),
  ]);
}

async function start(dialog, dag, conf) {
  for (const button of dialog.querySelectorAll("button")) button.disabled = true;
  const [title, ...more] = await started(dag, conf);
  const close = h("button", { type: "button" }, "Close");
  close.addEventListener("click", () => dialog.close());
  say(dialog, [h("h2", {}, title), ...more.map((each) => h("p", {}, each)), h("p", { class: "actions" }, close)]);
}

async function started(dag, conf) {
  const path = `../api/v2/dags/${encodeURIComponent(dag)}`;
  const answer = await fetch(`${path}/dagRuns`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ conf, logical_date: null }),
  }).catch(() => null);
  if (!answer) return ["Airflow's API server does not answer.", "No run was started: try again."];
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) return ["Airflow refused to start the run.", `HTTP ${answer.status}: ${reason(said)}`];
  const run = said.dag_run_id;
  const link = airflowLink(`dags/${encodeURIComponent(dag)}/runs/${encodeURIComponent(run)}`, run);
  const { is_paused: paused } = await fetch(path).then((each) => each.json()).catch(() => ({}));
  return ["The run has been started.", link, paused && `The DAG ${dag} is paused: the run waits until it is unpaused.`].filter(Boolean);
}

function reason(said) {
  return typeof said.detail === "string" ? said.detail : JSON.stringify(said.detail ?? said);
}

function say(dialog, content) {
  patchChildren(dialog, []);
  dialog.append(...content);
  if (!dialog.open) dialog.showModal();
  dialog.querySelector("button:not(.go)")?.focus();
}
