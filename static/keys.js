// Keyboard shortcuts. Which keys there are, and what each does, comes with the page: app/pages/keys.py has the table, and the
// page of shortcuts shows the same.

import { open as openJump } from "./jump.js";

const SECOND_KEY_WITHIN = 1500;
const KEPT = "shortcuts";

const acts = JSON.parse(document.getElementById("jump")?.dataset.shortcuts ?? "{}");
const firsts = new Set(Object.keys(acts).filter((keys) => keys.includes(" ")).map((keys) => keys.split(" ")[0]));

const DO = { jump: openJump, launch, next: () => step(1), previous: () => step(-1), tick };

let first = "";
let forgetting = 0;
/** The id of the row that was walked to last. */
let at = "";

export function start() {
  document.addEventListener("keydown", pressed);
  const box = document.getElementById("shortcuts-on");
  if (!box) return;
  box.checked = isOn();
  box.addEventListener("change", () => remember(box.checked));
}

function pressed(event) {
  if (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && acts["/"]) {
    event.preventDefault();
    openJump();
    return;
  }
  if (event.defaultPrevented || event.isComposing || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  if (event.key === "Shift" || !isOn()) return;
  const keys = first ? `${first} ${event.key}` : event.key;
  forget();
  if (keys in acts) {
    event.preventDefault();
    act(acts[keys]);
  } else if (firsts.has(event.key) && !event.repeat) {
    first = event.key;
    forgetting = setTimeout(forget, SECOND_KEY_WITHIN);
  }
}

function forget() {
  clearTimeout(forgetting);
  first = "";
}

// In a field keys are text, and in a dialog they are for that alone.
function isTyping(element) {
  const field = "input:not([type=checkbox], [type=radio], [type=button], [type=submit]), textarea, select";
  return element.matches(field) || element.isContentEditable || document.querySelector("dialog[open]") !== null;
}

function act(what) {
  const [verb, rest] = [what.split(":", 1)[0], what.slice(what.indexOf(":") + 1)];
  if (verb === "open") location.assign(rest);
  else if (verb === "tell") document.dispatchEvent(new CustomEvent(`key:${rest}`));
  else DO[verb]();
}

// --- what the words of the table mean ---

function launch() {
  const link = document.querySelector("main a[href^='/launch?target=']");
  location.assign(location.pathname.startsWith("/targets/") && link ? link.href : "/launch");
}

const rows = () => [...document.querySelectorAll("main [data-rows] > *")].filter((row) => linkOf(row));
const linkOf = (row) => row.querySelector("a[href]");

// The focus is on the link of a row, so that Enter opens it and screen readers say where one is.
function step(by) {
  const all = rows();
  if (!all.length) return;
  const now = all.findIndex((row) => row === current());
  const next = all[now < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(Math.max(now + by, 0), all.length - 1)];
  at = next.id;
  linkOf(next).focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
}

const current = () => document.activeElement.closest("[data-rows] > *") ?? (at ? document.getElementById(at) : null);

function tick() {
  current()?.querySelector("input[type=checkbox]")?.click();
}

// --- switched off, for those whose voice or hands press keys they did not mean ---

function isOn() {
  try {
    return localStorage.getItem(KEPT) !== "off";
  } catch {
    return true;
  }
}

function remember(on) {
  try {
    if (on) localStorage.removeItem(KEPT);
    else localStorage.setItem(KEPT, "off");
  } catch {
    // Private windows may refuse; then it is not remembered.
  }
}
