// Charts as SVG of rectangles, which may be stretched to any width.

import { h, svg } from "./dom.js";
import { count } from "./format.js";

const SLOTS = 40;
const SLOT = 10;
const HEIGHT = 56;

/**
 * One bar a batch, the oldest left: {value, state, title, href}. A bar that is not whole stands on a band of its own,
 * so that it is seen without colours, and with no records at all.
 */
export function bars(items, label) {
  const shown = items.slice(-SLOTS);
  const most = Math.max(1, ...shown.map((each) => each.value ?? 0));
  const first = SLOTS - shown.length;
  const drawn = shown.map((each, index) => {
    const height = each.value ? Math.max(2, (HEIGHT * each.value) / most) : 1;
    const x = (first + index) * SLOT;
    return svg("a", { href: each.href, tabindex: -1, "data-key": each.href, class: "bar", "aria-hidden": "true" }, [
      svg("svg", { x, width: SLOT, height: HEIGHT, class: each.state }, [
        svg("title", {}, each.title),
        svg("rect", { class: "band", width: SLOT, height: HEIGHT }),
        svg("rect", { class: "value", x: 1, width: SLOT - 2, y: HEIGHT - height, height }),
      ]),
    ]);
  });
  return h("div", { class: "chart", "data-key": "chart" }, [
    h("span", { class: "most", "aria-hidden": "true" }, count(most)),
    svg("svg", { viewBox: `0 0 ${SLOTS * SLOT} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label }, [
      svg("line", { class: "axis", x1: 0, x2: SLOTS * SLOT, y1: HEIGHT, y2: HEIGHT }),
      ...drawn,
    ]),
  ]);
}

/** How much of `whole` a part is, as a thin bar; more than all of it fills the bar. */
export function meter(part, whole, state) {
  const width = whole > 0 ? Math.min(100, (100 * Math.max(0, part)) / whole) : 0;
  return svg("svg", { class: `meter ${state}`, viewBox: "0 0 100 4", preserveAspectRatio: "none", "aria-hidden": "true" }, [
    svg("rect", { class: "track", width: 100, height: 4 }),
    svg("rect", { class: "value", width, height: 4 }),
  ]);
}
