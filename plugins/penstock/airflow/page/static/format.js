// Numbers, times and spans as people read them. All times are UTC, as in Airflow's own pages by default.

const grouped = new Intl.NumberFormat("en");

/** A count, or a dash where there is none yet. */
export function count(value) {
  return value === null || value === undefined ? "–" : grouped.format(value);
}

/** "1 batch", "2 batches". */
export function plural(value, one, many) {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** "2026-11-01 06:00", with seconds where asked for. */
export function time(iso, seconds = false) {
  return iso ? iso.slice(0, seconds ? 19 : 16).replace("T", " ") : "–";
}

/** "2026-11-01 06:00 – 07:00", with the end's date where it is another one. */
export function interval(start, end) {
  const last = time(end);
  return `${time(start)} – ${start.slice(0, 10) === end.slice(0, 10) ? last.slice(11) : last}`;
}

/** A span of seconds in its two largest units: "3 d 4 h", "5 min", "0.4 s". */
export function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0) return `−${span(-seconds)}`;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1).replace(".0", "") : Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  const parts = [[Math.floor(minutes / 1440), "d"], [Math.floor(minutes / 60) % 24, "h"], [minutes % 60, "min"]];
  const first = parts.findIndex(([number]) => number > 0);
  return parts.slice(first, first + 2).filter(([number]) => number > 0).map((each) => each.join(" ")).join(" ");
}

/** How long ago a time is, by this machine's clock. */
export function ago(iso) {
  return `${span(Math.max(0, (Date.now() - Date.parse(iso)) / 1000))} ago`;
}
