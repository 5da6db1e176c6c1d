// Keeps the regions of a page up to date: an event is a hint to ask for the same page again and to take from it what is
// marked data-live. One way renders the first load, every refresh, and the page without script.
//
// The page has one stream. What it wants to hear of stands in data-topics of main; a module that wants more, such as the
// lines of a log, subscribes.

import * as attention from "./attention.js";
import { morph, wasEdited } from "./morph.js";
import { Stream } from "./stream.js";
import { clock, hold, setNow, tick } from "./times.js";
import { loginUrl, refused, retryAfter, toast, unreachable } from "./toasts.js";

const EVERY = 1000;
/** Milliseconds between two refreshes for the sake of figures alone. */
const MEASURED_EVERY = 3000;
/** The same where so many were measured that not all are named: whether any is on the page is not known. */
const CROWDED_EVERY = 5000;
/** Between two of a page that has no stream, since others were looked at later. */
const PAUSED_EVERY = 15_000;
const SHOWN_AFTER = 400;
const STALE_AFTER = 30_000;
const RETRY_AFTER = 5;
/** Milliseconds that the making of a page may take: what changed meanwhile it may have or not. */
const ON_ITS_WAY = 2000;
/** Milliseconds after which an answer is given up. */
const ANSWER_WITHIN = 60_000;

const main = document.getElementById("content");
const indicator = document.getElementById("connection");
/** Of the files that this page was made with; it is in their address. */
const version = /\/static\/([0-9a-f]{12})\//.exec(import.meta.url)?.[1];
const topics = main?.dataset.topics ?? "";
const madeAt = Date.parse(document.querySelector('meta[name="server-time"]')?.content ?? "");

const subscribers = [];
let stream = null;

/**
 * Hear of more than the page's topics. `params()` gives what to ask the stream for, at every connection; `on` maps names of
 * events to (data, event); `state(name, info)` is told how the connection is. To be called when the module is loaded.
 */
export function subscribe({ params = () => ({}), on = {}, state = () => {} }) {
  subscribers.push({ params, on, state });
  if (stream) begin();
}

/** Open the stream anew: what `params` say has changed. */
export function reconnect() {
  if (stream && !stream.paused) stream.open();
}

export function start() {
  if (!indicator) return;
  attention.start(lookAt);
  document.addEventListener("submit", heldBack, { capture: true });
  // Modules that come after this one may subscribe until then.
  if (document.readyState === "complete") begin();
  else document.addEventListener("DOMContentLoaded", begin, { once: true });
}

function begin() {
  const on = { hello, changed, reset: refresh };
  for (const name of new Set(subscribers.flatMap((subscriber) => Object.keys(subscriber.on)))) {
    const own = on[name];
    on[name] = (data, event) => {
      own?.(data, event);
      for (const subscriber of subscribers) subscriber.on[name]?.(data, event);
    };
  }
  if (stream) {
    stream.on = on;
    reconnect();
  } else {
    stream = new Stream(url, on, told);
  }
}

function url() {
  const asked = new URLSearchParams({ topics });
  for (const { params } of subscribers) {
    for (const [name, value] of Object.entries(params() ?? {})) asked.set(name, value);
  }
  return `/ui/events?${asked}`;
}

// --- hints ---

let isFirst = true;

function hello(now) {
  setNow(now.now);
  outdated(now.version);
  // What happened while nobody listened, or while the page was on its way, is asked for once.
  if (!isFirst || Date.parse(now.changed_at) > madeAt - ON_ITS_WAY) refresh();
  isFirst = false;
}

function changed({ ids, measured, topics: others, more, more_measured: moreMeasured }) {
  attention.hint();
  if (ids.length || others.length || more) refresh();
  else if (measured.some(isShown)) refresh(MEASURED_EVERY);
  else if (moreMeasured && document.querySelector("main .is-alive")) refresh(CROWDED_EVERY);
}

const isShown = (id) => topics.includes(id) || document.getElementById(`p-${id}`) !== null;

async function lookAt() {
  try {
    const answer = await fetch(`/ui/now?${new URLSearchParams({ topics })}`, { headers: { Accept: "application/json" } });
    if (!answer.ok) return null;
    const now = await answer.json();
    outdated(now.version);
    return now;
  } catch {
    return null;
  }
}

function outdated(present) {
  if (!version || present === version) return;
  if (document.hidden && !isInUse()) location.reload();
  else toast("There is a new version of this page.", { kind: "bad", action: { text: "Reload", run: () => location.reload() } });
}

/** Whether something would be lost with the page. */
const isInUse = () =>
  document.querySelector("dialog[open]") !== null ||
  [...document.querySelectorAll("main input:not([type=hidden]), main textarea, main select")].some(wasEdited);

// --- asking again ---

let asking = false;
let askAgain = false;
let last = -Infinity;
let due = Infinity;
let timer = 0;
let polling = 0;
let freshAt = Date.now();

/** Ask for the page again, at most once a second; what comes in between is one request. */
export function refresh(every = EVERY) {
  // Also called as a handler, with what happened.
  const at = Math.max(performance.now(), last + (typeof every === "number" ? every : EVERY));
  if (document.hidden || !document.querySelector("[data-live]")) return;
  if (asking) {
    askAgain = true;
    return;
  }
  if (timer && at >= due) return;
  clearTimeout(timer);
  due = at;
  timer = setTimeout(load, at - performance.now());
}

async function load() {
  asking = true;
  timer = 0;
  last = performance.now();
  let again = 0;
  try {
    const answer = await fetch(location.href, {
      headers: { "X-Live": "1", Accept: "text/html" },
      cache: "no-store",
      signal: AbortSignal.timeout(ANSWER_WITHIN),
    });
    if (answer.redirected && new URL(answer.url).pathname === "/login") told("signed-out", {});
    else if (answer.ok) update(new DOMParser().parseFromString(await answer.text(), "text/html"));
    else if (answer.status === 404) told("gone", {});
    else again = await failed(answer);
  } catch {
    // One connection may fail while that of the stream goes on, and then nothing else would ask.
    again = RETRY_AFTER * 1000;
  } finally {
    asking = false;
    if (askAgain) {
      askAgain = false;
      refresh(again || EVERY);
    } else if (again) {
      refresh(again);
    }
    poll();
  }
}

// The page keeps what it shows. Gives milliseconds after which to try again.
async function failed(answer) {
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const problem = page.querySelector("meta[name=problem]")?.content;
  if (answer.status >= 500 || answer.status === 429) refused(answer, problem ? JSON.parse(problem) : null);
  return (retryAfter(answer) || RETRY_AFTER) * 1000;
}

function update(fresh) {
  freshAt = Date.now();
  document.title = fresh.title;
  const restore = anchored();
  for (const region of document.querySelectorAll("[data-live]")) {
    const now = fresh.getElementById(region.id);
    if (!now) continue;
    holdBack(region, now);
    morph(region, now);
  }
  restore();
  hold(stream?.paused);
  tick();
  document.dispatchEvent(new CustomEvent("updated"));
}

// A page without a stream asks now and then; so does one that shows what no event tells of, such as the time that passes.
function poll() {
  clearTimeout(polling);
  const regions = [...document.querySelectorAll("[data-live][data-poll]:not(#troubles)")];
  const every = Math.min(...regions.map((region) => Number(region.dataset.poll) * 1000), stream?.paused ? PAUSED_EVERY : Infinity);
  if (Number.isFinite(every)) polling = setTimeout(() => (document.hidden ? poll() : refresh()), every);
}

// --- not under the eyes of who reads ---

// Most browsers keep the place of who reads when something grows above it; where one does not, we do.
function anchored() {
  if (CSS.supports("overflow-anchor", "auto") || scrollY === 0) return () => {};
  const seen = [...document.querySelectorAll("[data-live] [id]")].find((element) => element.getBoundingClientRect().top >= 0);
  if (!seen) return () => {};
  const before = seen.getBoundingClientRect().top;
  return () => seen.isConnected && scrollBy({ top: seen.getBoundingClientRect().top - before, behavior: "instant" });
}

// Rows are not pushed in above somebody who reads further down, has ticked or selected something, or has a menu open:
// they wait behind a button.
function holdBack(region, fresh) {
  const rows = region.querySelector("[data-rows]");
  const to = fresh.querySelector("[data-rows]");
  if (!rows || !to || "uiShowAll" in region.dataset) {
    delete region.dataset.uiShowAll;
    return;
  }
  const known = new Set([...rows.children].map((row) => row.id));
  const added = known.size && isReading(region, rows) ? [...to.children].filter((row) => !known.has(row.id)) : [];
  // New ones come on top; one further down took the place of another that left.
  const held = added.filter((row) => !row.previousElementSibling || added.includes(row.previousElementSibling));
  if (!held.length) return;
  for (const row of held) row.remove();
  for (const row of pushedOut(rows, to).slice(0, held.length)) to.append(row.cloneNode(true));
  fresh.prepend(moreRows(region, held.length));
}

function isReading(region, rows) {
  const selection = getSelection();
  return (
    rows.getBoundingClientRect().top < 0 ||
    rows.querySelector("input[type=checkbox]:checked") !== null ||
    region.querySelector("details[open], :popover-open") !== null ||
    document.querySelector("dialog[open]") !== null ||
    (!selection.isCollapsed && region.contains(selection.anchorNode))
  );
}

/** The rows that left at the end, since others came on top. */
function pushedOut(rows, to) {
  const staying = new Set([...to.children].map((row) => row.id));
  const all = [...rows.children];
  return all.slice(all.findLastIndex((row) => staying.has(row.id)) + 1);
}

function moreRows(region, count) {
  const text = document.createElement("p");
  text.className = "more-rows";
  text.id = `${region.id}-more`;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button is-main";
  button.dataset.showRows = region.id;
  button.textContent = `${count} new, show`;
  text.append(button);
  return text;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-show-rows]");
  if (!button) return;
  const region = document.getElementById(button.dataset.showRows);
  region.dataset.uiShowAll = "1";
  scrollTo({ top: 0 });
  last = -Infinity;
  refresh();
});

// --- how the connection is ---

let state = "";
let showing = 0;
let aging = 0;

function told(now, info) {
  if (state === "gone" && now !== "signed-out") return;
  if (state === "live" && now !== "live") freshAt = Date.now();
  state = now;
  if (now === "live" || now === "paused") hold(now === "paused");
  for (const subscriber of subscribers) subscriber.state(now, info);
  clearTimeout(showing);
  // A line that breaks and is back at once is no news.
  if (now === "reconnecting" && !info.restarting) showing = setTimeout(show, SHOWN_AFTER, now, info);
  else show(now, info);
  if (now === "live") age(false);
  else if (now === "reconnecting") aging ||= setTimeout(age, Math.max(0, freshAt + STALE_AFTER - Date.now()), true);
  if (now === "signed-out") toast("You are signed out.", { kind: "bad", link: { href: loginUrl(), text: "Sign in" }, key: "signed-out" });
  poll();
}

function show(now, { seconds, again, restarting, crowded }) {
  indicator.hidden = false;
  indicator.className = `connection is-${now}${now === "paused" && crowded ? " is-crowded" : ""}`;
  const said = {
    live: "Live",
    reconnecting: `${restarting ? "The service ends or restarts. " : ""}Reconnecting in ${seconds} s`,
    paused: crowded ? "Paused: other pages hold the streams" : "Paused",
    "signed-out": "Signed out",
    gone: topics.includes("process:") ? "This record was deleted" : "This page is gone",
  };
  indicator.replaceChildren(said[now]);
  if (now === "reconnecting") indicator.append(pressing("now", again));
  if (now === "paused" && crowded) indicator.append(pressing("Resume here", again));
  if (now === "signed-out") indicator.append(signIn());
}

// Old figures are not shown as if they were new.
function age(isStale) {
  clearTimeout(aging);
  aging = 0;
  if (isStale) {
    document.documentElement.dataset.uiStale = clock(freshAt);
  } else {
    delete document.documentElement.dataset.uiStale;
  }
  const note = document.getElementById("as-of");
  if (note) {
    note.hidden = !isStale;
    note.textContent = isStale ? `The service can't be reached: as of ${document.documentElement.dataset.uiStale}` : "";
  }
}

function pressing(text, run) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = text;
  button.addEventListener("click", run);
  return button;
}

function signIn() {
  const link = document.createElement("a");
  link.href = loginUrl();
  link.textContent = "sign in";
  return link;
}

// A form that is sent to nobody would be gone with the browser's own error page.
async function heldBack(event) {
  const form = event.target;
  if (state !== "reconnecting" || form.method === "dialog" || "uiSend" in form.dataset) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  const { submitter } = event;
  try {
    await fetch("/healthz", { signal: AbortSignal.timeout(3000) });
  } catch {
    unreachable();
    return;
  }
  form.dataset.uiSend = "";
  form.requestSubmit(submitter);
  delete form.dataset.uiSend;
}
