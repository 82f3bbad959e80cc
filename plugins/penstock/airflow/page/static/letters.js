// Dead letters: how many of which reason, the newest, and what a person may do about them.

import { h } from "./dom.js";
import { count, time } from "./format.js";
import { empty, pill, table, viewLink } from "./parts.js";
import { actions } from "./replay.js";

const STATES = ["open", "replayed", "dropped"];
const SHOWN_AS = { open: "bad", replayed: "fine", dropped: "none" };

export async function draw(get, query) {
  const found = await get("dead-letters", query);
  const state = query.get("state") ?? "open";
  const filtered = ["data_set", "reason", "batch_id"].some((each) => query.has(each));
  return [
    h("h1", {}, "Dead letters"),
    h("p", { class: "lead note" }, "Records that broke their contract. Each was set aside with the reason, and is kept until somebody replays or drops it."),
    found.lacking && h("p", { class: "note", role: "status", "data-key": "lacking" }, `New dead letters are not seen at present: ${found.lacking}`),
    h("nav", { class: "states", "aria-label": "State" }, STATES.map((each) => stateLink(each, state, query))),
    found.counts.length === 0 ? nothing(state) : reasons(found.counts, state, query),
    found.letters.length > 0 && h("section", { class: "card", "data-key": "letters" }, [
      h("div", { class: "head" }, [
        h("h2", {}, filtered ? "Those that match, the newest first" : "The newest"),
        filtered && viewLink("dead-letters", { state }, "Show all"),
        state === "open" && actions(found.replay_by, "of those selected"),
      ]),
      letterTable(found.letters, state === "open" && found.replay_by),
    ]),
  ].filter(Boolean);
}

function stateLink(each, state, query) {
  const values = Object.fromEntries([...query].filter(([name]) => name !== "reason"));
  return h("a", { href: `dead-letters?${new URLSearchParams({ ...values, state: each })}`, "aria-current": each === state && "true" }, each);
}

function nothing(state) {
  return state === "open"
    ? empty("No dead letter is open.", "All records that came kept their contracts, or what did not was replayed or dropped.")
    : empty(`No dead letter was ${state}.`);
}

function reasons(counts, state, query) {
  const chosen = (row) => query.get("data_set") === row.data_set && query.get("reason") === row.kind;
  const columns = [
    {
      name: "Reason",
      cell: (row) => h("span", { class: chosen(row) && "strong" }, viewLink("dead-letters", { state, data_set: row.data_set, reason: row.kind }, row.kind)),
    },
    { name: "Data set", cell: (row) => row.data_set },
    { name: "Letters", number: true, cell: (row) => count(row.count) },
  ];
  return h("section", { class: "card wrapped", "data-key": "reasons" }, [
    h("h2", {}, "By reason"),
    table("Dead letters by reason", columns, counts, (row) => row.data_set + row.kind),
  ]);
}

function letterTable(rows, selectable) {
  const select = (row) => h("label", {}, [
    h("input", { type: "checkbox", name: "letter", value: row.id, "aria-label": `Select the letter ${row.id}` }),
    " ",
    viewLink("dead-letter", { letter: row.id }, `Letter ${row.id}`),
  ]);
  return table(
    "Dead letters",
    [
      { name: "Letter", cell: (row) => (selectable ? select(row) : viewLink("dead-letter", { letter: row.id }, `Letter ${row.id}`)) },
      { name: "Set aside (UTC)", cell: (row) => time(row.written, true) },
      { name: "Data set", cell: (row) => row.data_set },
      { name: "Reason", wide: true, cell: (row) => row.reason },
      { name: "Batch", cell: (row) => batchLink(row) },
      { name: "State", cell: (row) => pill(SHOWN_AS[row.state], row.state) },
    ],
    rows,
    (row) => row.id,
  );
}

export function batchLink(row) {
  return row.batch_id ? viewLink("batch", { batch_id: row.batch_id }, "Batch") : "of no batch";
}

export function stateOf(row) {
  return pill(SHOWN_AS[row.state], row.state);
}
