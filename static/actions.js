// The buttons of a process without leaving the page: the forms are real ones, and what they would post is asked of the API.

import { refresh } from "./live.js";
import { refused, toast, unreachable } from "./toasts.js";

export function start() {
  document.addEventListener("submit", submitted);
  document.getElementById("ask-no")?.addEventListener("click", () => document.getElementById("ask").close());
}

function submitted(event) {
  const form = event.target;
  // Of a Join that waits the word is ours: it turned into nothing else.
  if (isGuarded(form) && !waiting.has(form)) event.preventDefault();
  else if (form.dataset.ask) stopAnd(event, () => ask(form));
  else if (form.dataset.join) stopAnd(event, () => join(form));
  else if (form.dataset.api) stopAnd(event, () => act(form));
}

function stopAnd(event, work) {
  event.preventDefault();
  work();
}

function isGuarded(form) {
  const until = form.closest("[data-guard]")?.dataset.uiGuardedUntil;
  return until !== undefined && performance.now() < Number(until);
}

// --- one action ---

async function act(form) {
  const button = form.querySelector("button");
  if (button.getAttribute("aria-busy")) return;
  forget();
  button.setAttribute("aria-busy", "true");
  const menu = form.closest("details.menu");
  if (menu) menu.open = false;
  try {
    const process = await post(form.dataset.api, { body: bodyOf(form), key: form.elements.key?.value });
    if (!process) return;
    if ("go" in form.dataset) {
      // Whoever comes back to this page and presses again means another one.
      form.elements.key?.remove();
      location.assign(`/processes/${process.id}`);
    } else {
      told(form, process);
    }
    refresh();
  } finally {
    button.removeAttribute("aria-busy");
  }
}

/** What the fields of a form say, as the API takes it; null when it has none. */
function bodyOf(form) {
  const given = [...new FormData(form)].filter(([name, value]) => name !== "next" && name !== "key" && value !== "");
  if (!given.length) return null;
  return Object.fromEntries(
    given.map(([name, value]) => [name, name === "grace" ? Number(value) : name === "tree" ? true : value]),
  );
}

function told(form, process) {
  const isNew = !form.dataset.api.includes(process.id);
  const link = isNew ? { href: `/processes/${process.id}`, text: "Open" } : null;
  if (process.outcome === "not_started") toast(`${process.name}: ${process.exit_summary}`, { kind: "bad", link });
  else toast(`${process.name} ${form.dataset.done.replace("{grace}", form.elements.grace?.value)}`, { link });
}

/** The process that the API answers with; null after its refusal was shown. */
async function post(url, { signal, body = null, key } = {}) {
  const headers = {};
  if (key) headers["Idempotency-Key"] = key;
  if (body) headers["Content-Type"] = "application/json";
  try {
    const answer = await fetch(url, { method: "POST", signal, headers, body: body && JSON.stringify(body) });
    if (answer.ok) return await answer.json();
    await refused(answer);
    refresh();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    unreachable();
  }
  return null;
}

// --- asking first ---

function ask(form) {
  const dialog = document.getElementById("ask");
  const inner = dialog.querySelector("form");
  document.getElementById("ask-title").textContent = form.dataset.ask;
  document.getElementById("ask-text").textContent = form.dataset.askText;
  document.getElementById("ask-yes").textContent = form.dataset.askWord;
  inner.action = form.action;
  for (const name of ["api", "done", "name"]) {
    if (form.dataset[name]) inner.dataset[name] = form.dataset[name];
    else delete inner.dataset[name];
  }
  inner.onsubmit = () => dialog.close();
  const menu = form.closest("details.menu");
  if (menu) menu.open = false;
  dialog.showModal();
  document.getElementById("ask-no").focus();
}

// --- join ---

const waiting = new WeakMap();

async function join(form) {
  const running = waiting.get(form);
  if (running) {
    running.abort();
    return;
  }
  forget();
  const button = form.querySelector("button");
  const seconds = Number(form.elements.timeout.value || 0);
  const word = button.querySelector(".word") ?? button;
  const before = word.textContent;
  const control = new AbortController();
  waiting.set(form, control);
  form.dataset.uiKeep = "";
  word.textContent = "Waiting… cancel";
  try {
    const process = await post(`${form.dataset.join}?timeout=${encodeURIComponent(seconds)}`, { signal: control.signal });
    if (process) answered(process, seconds);
  } catch {
    answer("The waiting was cancelled; the process goes on.");
  } finally {
    waiting.delete(form);
    delete form.dataset.uiKeep;
    word.textContent = before;
    refresh();
  }
}

function answered(process, seconds) {
  const isOver = process.outcome !== null;
  const text = isOver
    ? `${process.name} is over. ${process.exit_summary}`
    : `${process.name} is still ${process.state} after ${seconds} s.`;
  answer(text, isOver);
}

/** Says it beside the buttons until the next action, or, unless it is final, until the state is another. */
function answer(text, isFinal = false) {
  const place = document.getElementById("answer");
  place.dataset.uiKeep = "";
  place.dataset.uiOf = isFinal ? "" : stateShown();
  place.hidden = false;
  place.textContent = text;
}

const stateShown = () => document.querySelector("#about > .banner")?.className ?? "";

function forget(isOutdated = () => true) {
  const place = document.getElementById("answer");
  if (!place || place.hidden || !isOutdated(place)) return;
  place.hidden = true;
  place.textContent = "";
  delete place.dataset.uiKeep;
}

document.addEventListener("updated", () => forget((place) => place.dataset.uiOf && place.dataset.uiOf !== stateShown()));
