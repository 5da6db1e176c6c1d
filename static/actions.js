// The buttons of a process without leaving the page: the forms are real ones, and what they would post is asked of the API.

import { refresh } from "./live.js";
import { toast } from "./toasts.js";

export function start() {
  document.addEventListener("submit", submitted);
  document.addEventListener("click", closeMenus);
  document.addEventListener("keydown", (event) => event.key === "Escape" && closeMenus(event));
  document.getElementById("ask-no")?.addEventListener("click", () => document.getElementById("ask").close());
}

function submitted(event) {
  const form = event.target;
  if (isGuarded(form)) event.preventDefault();
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

function closeMenus(event) {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!(event.type === "click" && menu.contains(event.target))) menu.open = false;
  }
}

// --- one action ---

async function act(form) {
  const button = form.querySelector("button");
  if (button.getAttribute("aria-busy")) return;
  button.setAttribute("aria-busy", "true");
  const menu = form.closest("details.menu");
  if (menu) menu.open = false;
  try {
    const process = await post(form.dataset.api);
    if (!process) return;
    if ("go" in form.dataset) location.assign(`/processes/${process.id}`);
    else told(form, process);
    refresh();
  } finally {
    button.removeAttribute("aria-busy");
  }
}

function told(form, process) {
  const isNew = !form.dataset.api.includes(process.id);
  const link = isNew ? { href: `/processes/${process.id}`, text: "Open" } : null;
  if (process.outcome === "not_started") toast(`${process.name}: ${process.exit_summary}`, { kind: "bad", link });
  else toast(`${process.name} ${form.dataset.done}`, { link });
}

/** The process that the API answers with; null after its refusal was shown. */
async function post(url, signal) {
  try {
    const answer = await fetch(url, { method: "POST", signal });
    if (answer.ok) return await answer.json();
    if (answer.status === 401) location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
    const problem = await answer.json().catch(() => ({}));
    toast(problem.detail ?? `The service answered ${answer.status}.`, { kind: "bad" });
    refresh();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    toast("The service can't be reached.", { kind: "bad" });
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
  const button = form.querySelector("button");
  const seconds = Number(form.elements.timeout.value || 0);
  const word = button.textContent;
  const control = new AbortController();
  waiting.set(form, control);
  form.dataset.uiKeep = "";
  button.textContent = "Waiting… cancel";
  try {
    const process = await post(`${form.dataset.join}?timeout=${encodeURIComponent(seconds)}`, control.signal);
    if (process) answered(process, seconds);
  } catch {
    answer("The waiting was cancelled; the process goes on.");
  } finally {
    waiting.delete(form);
    delete form.dataset.uiKeep;
    button.textContent = word;
    refresh();
  }
}

function answered(process, seconds) {
  const isOver = process.outcome !== null;
  const text = isOver
    ? `${process.name} is over. ${process.exit_summary}`
    : `${process.name} is still ${process.state} after ${seconds} s.`;
  answer(text);
  toast(text);
}

function answer(text) {
  const place = document.getElementById("answer");
  place.dataset.uiKeep = "";
  place.hidden = false;
  place.textContent = text;
}
