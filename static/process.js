// The page of one process: what is copied, the countdown to a harder signal, and the charts of what it used.

import { copy } from "./shell.js";
import { clock, exact, known } from "./times.js";
import { toast } from "./toasts.js";

// --- copying: what is on a button stays there ---

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copies], [data-copy-link]");
  if (!button) return;
  event.preventDefault();
  const text = "copyLink" in button.dataset ? location.href : button.dataset.copies;
  const isDone = await copy(text, button);
  toast(isDone ? "Copied." : "The browser does not allow copying here.", { kind: isDone ? "good" : "bad", key: "copied" });
  const menu = button.closest("details.menu");
  if (menu) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

// --- what follows by itself ---

function count() {
  for (const element of document.querySelectorAll("[data-until]")) {
    const text = `${Math.max(0, Math.round((Date.parse(element.dataset.until) - known()) / 1000))} s`;
    if (element.textContent !== text) element.textContent = text;
  }
}

setInterval(() => document.hidden || count(), 500);

// --- charts ---

const WHOLE = [1, 10, 100, 1e3, 1e4, 1e5, 1e6].flatMap((ten) => [ten, 2 * ten, 5 * ten]);
const CHARTS = [
  { key: "cpu_percent", title: "CPU", tone: "--blue", format: (value) => `${short(value)} %` },
  { key: "rss_bytes", title: "Memory", tone: "--violet", format: size, steps: Array.from({ length: 40 }, (_, at) => 2 ** (at + 4)) },
  { key: "threads", steps: WHOLE, title: "Threads", tone: "--green", format: short },
  { key: "open_files", steps: WHOLE, title: "Open files", tone: "--orange", format: short },
  { key: "processes", steps: WHOLE, title: "Processes", tone: "--amber", format: short },
];
const LIBRARY = new URL("vendor/uplot-1.6.32/uPlot.iife.min.js", import.meta.url);
/** Milliseconds between two readings of the history: longer ones change more slowly, as seen from afar. */
const EVERY = 2000;
const EVERY_POINT = 15;

const container = document.getElementById("charts");
const wide = matchMedia("(min-width: 1400px)");
let charts = [];
let history = null;
let wasAlive = false;
let next = 0;
let isLoading = false;

const isShown = () => container !== null && (!("wide" in container.dataset) || wide.matches);
const isAlive = () => "alive" in document.getElementById("about").dataset;

async function follow() {
  if (!isShown() || isLoading || document.hidden) return;
  // Once more when it is over: its last figures come then.
  if (history && !isAlive() && !wasAlive) return;
  if (history && isAlive() && performance.now() < next) return;
  isLoading = true;
  try {
    const alive = isAlive();
    const answer = await fetch(container.dataset.usage, { headers: { Accept: "application/json" } });
    if (!answer.ok) return;
    history = await answer.json();
    wasAlive = alive;
    next = performance.now() + Math.max(EVERY, EVERY_POINT * history.items.length);
    await library();
    draw();
  } catch {
    // The stream notices as well, and the page is refreshed when it is back.
  } finally {
    isLoading = false;
  }
}

let loaded = null;

function library() {
  loaded ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = LIBRARY;
    script.addEventListener("load", resolve);
    script.addEventListener("error", () => {
      loaded = null;
      reject(new Error("the charts can't be fetched"));
    });
    document.head.append(script);
  });
  return loaded;
}

function draw() {
  if (!isShown()) return;
  if (history.items.length < 2) {
    note("There is no chart before two measurements, which take two seconds.");
    return;
  }
  if (!charts.length) build();
  const at = Float64Array.from(history.items, (item) => Date.parse(item.at) / 1000);
  for (const chart of charts) {
    chart.plot.setData([at, Float64Array.from(history.items, (item) => item[chart.key])]);
    label(chart);
  }
}

function note(text) {
  const made = document.createElement("p");
  made.className = "note";
  made.textContent = isAlive() ? text : "It was over before there was anything to draw.";
  container.replaceChildren(made);
}

function build() {
  container.replaceChildren();
  const ink = { soft: colour("--soft"), line: colour("--line") };
  charts = CHARTS.map((kind) => {
    const figure = document.createElement("figure");
    figure.className = "chart";
    const caption = document.createElement("figcaption");
    caption.append(word("b", kind.title), word("span", "", "value number"), word("span", "", "note number"));
    const place = document.createElement("div");
    place.className = "plot";
    place.setAttribute("role", "img");
    figure.append(caption, place);
    container.append(figure);
    const chart = { ...kind, figure, caption, place };
    chart.plot = new uPlot(options(chart, ink), [[], []], place);
    return chart;
  });
  sizes.observe(container);
}

function word(name, text, className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className;
  return made;
}

const height = () => (container.classList.contains("is-large") ? 130 : 84);

function options(chart, ink) {
  const tone = colour(chart.tone);
  const axis = { stroke: ink.soft, font: "11px sans-serif", ticks: { show: false }, grid: { stroke: ink.line, width: 1 } };
  return {
    width: Math.max(100, chart.place.clientWidth),
    height: height(),
    padding: [6, 4, 0, 0],
    legend: { show: false },
    cursor: { sync: { key: "usage" }, drag: { x: false, y: false }, points: { size: 6, fill: tone } },
    scales: { y: { range: (_, __, most) => [0, most > 0 ? most * 1.08 : 1] } },
    axes: [
      { ...axis, size: 20, gap: 3, space: 64, values: moments },
      { ...axis, size: 58, gap: 4, space: 26, ...(chart.steps && { incrs: chart.steps }), values: (_, values) => values.map(chart.format) },
    ],
    series: [{}, { stroke: tone, width: 1.5, fill: faint(tone), points: { show: false } }],
    hooks: { setCursor: [() => value(chart)] },
  };
}

// Of 24 hours; days where a step is one.
function moments(_, values) {
  const [step] = values.slice(1).map((value, at) => value - values[at]);
  return values.map((value) => {
    const at = clock(value * 1000);
    if (step >= 86400) return exact(value * 1000).slice(5, 10);
    return step < 60 || values.length < 2 ? at : at.slice(0, 5);
  });
}

// The value under the cursor, of all charts at the same time; the last one otherwise.
function value(chart) {
  const { data, cursor } = chart.plot;
  const place = chart.caption.querySelector(".value");
  if (!data[0].length) return;
  const isOver = cursor.idx !== null && cursor.idx !== undefined;
  const at = isOver ? cursor.idx : data[0].length - 1;
  const when = isOver ? ` at ${clock(data[0][at] * 1000)}` : "";
  place.textContent = `${chart.format(data[1][at])}${when}`;
}

function label(chart) {
  value(chart);
  const [average, maximum] = [history.average, history.maximum].map((figures) => chart.format(figures[chart.key]));
  chart.caption.querySelector(".note").textContent = `average ${average}, at most ${maximum}`;
  chart.place.setAttribute("aria-label", `${chart.title} over time: average ${average}, at most ${maximum}`);
}

function destroy() {
  sizes.disconnect();
  for (const { plot } of charts) plot.destroy();
  charts = [];
  container?.replaceChildren();
}

const sizes = new ResizeObserver(() => {
  for (const { plot, place } of charts) {
    if (place.clientWidth && place.clientWidth !== plot.width) plot.setSize({ width: place.clientWidth, height: height() });
  }
});

// A canvas takes no custom properties: what the browser makes of one is asked for.
function colour(name) {
  const probe = document.createElement("span");
  probe.className = "hidden";
  probe.style.color = `var(${name})`;
  container.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

const faint = (tone) => tone.replace(/^rgba?\(([^,)]+),([^,)]+),([^,)]+).*$/, "rgba($1,$2,$3,0.13)");

function short(value) {
  return value >= 1000 ? String(Math.round(value)) : String(Number(value.toPrecision(3)));
}

function size(bytes) {
  if (bytes < 1024) return `${Math.round(bytes)} B`;
  let left = bytes;
  for (const unit of ["KiB", "MiB", "GiB"]) {
    left /= 1024;
    if (left < 1023.95) return `${short(left)} ${unit}`;
  }
  return `${short(left / 1024)} TiB`;
}

function redraw() {
  if (!charts.length) return;
  destroy();
  draw();
}

if (container) {
  document.addEventListener("updated", follow);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  wide.addEventListener("change", () => {
    if (isShown()) history ? library().then(draw, () => {}) : follow();
    else destroy();
  });
  addEventListener("pagehide", destroy);
  addEventListener("pageshow", (event) => event.persisted && history && draw());
  follow();
}
