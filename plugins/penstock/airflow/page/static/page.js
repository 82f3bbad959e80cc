// The frame of every view: fetches what the view shows, draws it, and keeps it up to date without flicker.

import { patchChildren, h } from "./dom.js";
import * as batch from "./batch.js";
import * as batches from "./batches.js";
import * as dataSets from "./data-sets.js";
import * as letter from "./letter.js";
import * as letters from "./letters.js";
import { act } from "./replay.js";
import * as run from "./run.js";
import * as services from "./services.js";

const EVERY_MS = 10_000;
const VIEWS = { "": dataSets, batches, batch, run, services, "dead-letters": letters, "dead-letter": letter };

/** The entry of the navigation that a view belongs to, where it is not its own. */
const PLACES = { batch: "", batches: "", run: "", "dead-letter": "dead-letters" };

const main = document.getElementById("main");
const trouble = document.getElementById("trouble");
const updated = document.getElementById("updated");
const name = location.pathname.split("/").pop();
const view = VIEWS[name];
const query = new URLSearchParams(location.search);

/** JSON of this page's own API, or a Problem. */
async function get(path, values = {}) {
  const answer = await fetch(`api/${path}?${new URLSearchParams(values)}`).catch(() => {
    throw new Problem("Airflow's API server does not answer.", "The page tries again by itself.");
  });
  if (!answer.ok) throw await problemOf(answer);
  return answer.json();
}

class Problem extends Error {
  constructor(message, advice) {
    super(message);
    this.advice = advice;
  }
}

async function problemOf(answer) {
  const said = await answer.json().catch(() => ({}));
  const detail = typeof said.detail === "string" ? said.detail : `HTTP ${answer.status}`;
  switch (answer.status) {
    case 401:
      return new Problem("You are not logged in any more.", "Log in to Airflow again, then reload this page.");
    case 403:
      return new Problem(
        "You may not see this.",
        "It takes the permission to read the DAG: ask who administrates this Airflow.",
      );
    case 503:
      return new Problem(
        `${detail}.`,
        said.passes
          ? "`penstock status` says which server is down, `penstock up` starts it; the page tries again by itself."
          : "It does not pass by itself.",
      );
    default:
      return new Problem(`${detail}.`, null);
  }
}

async function refresh() {
  try {
    const drawn = view ? await view.draw(get, query, refresh) : h("p", {}, "There is no such page.");
    patchChildren(main, [drawn].flat());
    patchChildren(trouble, []);
    main.classList.remove("old");
    updated.textContent = `as of ${new Date().toISOString().slice(11, 19)} UTC`;
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    patchChildren(trouble, [
      h("div", { class: "problem" }, h("p", { class: "title" }, error.message), error.advice && h("p", {}, error.advice)),
    ]);
    main.classList.add("old");
  } finally {
    main.setAttribute("aria-busy", "false");
  }
}

/** A frame of Airflow's may open no other page of Airflow in the window, so the window is asked to do it. */
function openInAirflow(event) {
  const link = event.target.closest?.("a[data-airflow]");
  if (!link || window.parent === window) return;
  event.preventDefault();
  const outer = window.parent.document.createElement("a");
  outer.href = link.href;
  if (event.ctrlKey || event.metaKey || event.button === 1) {
    outer.target = "_blank";
    outer.rel = "noopener";
  }
  outer.click();
}

function markPlace() {
  for (const link of document.querySelectorAll("nav a")) {
    const place = link.getAttribute("href").replace("./", "");
    if (place === (PLACES[name] ?? name)) link.setAttribute("aria-current", "page");
  }
}

async function keepUpToDate() {
  if (document.visibilityState === "visible") await refresh();
  // A view that is still shows what does not change.
  if (!view?.still) setTimeout(keepUpToDate, EVERY_MS);
}

document.addEventListener("click", openInAirflow);
document.addEventListener("click", act);
document.addEventListener("auxclick", openInAirflow);
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible" && !view?.still) refresh();
});
markPlace();
keepUpToDate();
