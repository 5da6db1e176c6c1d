// Keeps the regions of a page up to date: an event is a hint to ask for the same page again and to take from it what is
// marked data-live. One way renders the first load, every refresh, and the page without script.

import { morph } from "./morph.js";
import { Stream } from "./stream.js";
import { tick } from "./times.js";

const EVERY = 1000;

const only = document.querySelector("[data-live-process]")?.dataset.liveProcess;
const indicator = document.getElementById("connection");

let asking = false;
let askAgain = false;
let last = 0;
let timer = 0;
let polling = 0;

export function start() {
  // What is wrong with the service is on every page: it is asked for now and then, and worth no stream of its own.
  if (document.querySelector("[data-live]:not(#troubles)")) {
    new Stream(() => "/api/v1/events", { process: hint, reset: refresh }, show);
  }
  poll();
}

function hint(event) {
  if (!only || event.id === only) refresh();
}

/** Ask for the page again, at most once a second; what comes in between is one request. */
export function refresh() {
  clearTimeout(timer);
  if (document.hidden) return;
  if (asking) {
    askAgain = true;
    return;
  }
  const wait = last + EVERY - performance.now();
  if (wait > 0) timer = setTimeout(load, wait);
  else load();
}

async function load() {
  asking = true;
  last = performance.now();
  try {
    const answer = await fetch(location.href, { headers: { "X-Live": "1", Accept: "text/html" } });
    if (answer.redirected && new URL(answer.url).pathname === "/login") show("signed-out", {});
    else if (answer.ok) update(new DOMParser().parseFromString(await answer.text(), "text/html"));
    else if (answer.status === 404) show("gone", {});
  } catch {
    // The stream notices as well, and asks again when it is back.
  } finally {
    asking = false;
    if (askAgain) {
      askAgain = false;
      refresh();
    }
    poll();
  }
}

function update(fresh) {
  document.title = fresh.title;
  for (const region of document.querySelectorAll("[data-live]")) {
    const now = fresh.getElementById(region.id);
    if (!now) continue;
    holdBack(region, now);
    morph(region, now);
  }
  tick();
  document.dispatchEvent(new CustomEvent("updated"));
}

// Rows are not pushed in above somebody who reads further down, or who has a menu open: they wait behind a button.
function holdBack(region, fresh) {
  const rows = region.querySelector("[data-rows]");
  const to = fresh.querySelector("[data-rows]");
  if (!rows || !to || "uiShowAll" in region.dataset) {
    delete region.dataset.uiShowAll;
    region.querySelector(".more-rows")?.remove();
    return;
  }
  const isReading = rows.getBoundingClientRect().top < 0 || rows.querySelector("details[open]");
  const known = new Set([...rows.children].map((row) => row.id));
  const added = isReading && known.size ? [...to.children].filter((row) => !known.has(row.id)) : [];
  // New ones come on top; one further down took the place of another that left.
  const held = added.filter((row) => !row.previousElementSibling || added.includes(row.previousElementSibling));
  for (const row of held) row.remove();
  for (const row of [...rows.children].slice(to.children.length)) to.append(row.cloneNode(true));
  if (held.length) fresh.prepend(moreRows(region, held.length));
}

function moreRows(region, count) {
  const text = document.createElement("p");
  text.className = "more-rows";
  text.id = "more-rows";
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button";
  button.dataset.showRows = region.id;
  button.textContent = `${count} new, show`;
  text.append(button);
  return text;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-show-rows]");
  if (!button) return;
  document.getElementById(button.dataset.showRows).dataset.uiShowAll = "1";
  scrollTo({ top: 0 });
  last = 0;
  refresh();
});

// Measurements and progress make no events: while something lives they are asked for.
function poll() {
  clearTimeout(polling);
  const every = Math.min(...[...document.querySelectorAll("[data-live][data-poll]")].map((region) => Number(region.dataset.poll)));
  if (Number.isFinite(every)) polling = setTimeout(() => (document.hidden ? poll() : refresh()), every * 1000);
}

let wasLive = false;

function show(state, { seconds, again, restarting }) {
  indicator.hidden = false;
  indicator.className = `connection is-${state}`;
  indicator.replaceChildren(words(state, seconds, restarting));
  if (state === "reconnecting") indicator.append(retry(again));
  if (state === "signed-out") indicator.append(signIn());
  if (state === "live") {
    // What happened while nobody listened is asked for once.
    if (wasLive) refresh();
    wasLive = true;
  }
}

function words(state, seconds, restarting) {
  const said = {
    live: "Live",
    reconnecting: `${restarting ? "The service ends or restarts. " : ""}Reconnecting in ${seconds} s`,
    paused: "Paused",
    "signed-out": "Signed out",
    gone: "This record was deleted",
  };
  return said[state];
}

function retry(again) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "now";
  button.addEventListener("click", again);
  return button;
}

function signIn() {
  const link = document.createElement("a");
  link.href = `/login?next=${encodeURIComponent(location.pathname + location.search)}`;
  link.textContent = "sign in";
  return link;
}
