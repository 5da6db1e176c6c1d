// Notices in the corner: good ones go by themselves, bad ones stay until they are closed. A press on one opens its subject.

import { copy } from "./shell.js";

const region = document.getElementById("toasts");
const SHOWN_FOR = 8000;
const MOST = 5;

/**
 * Show a notice. `link` is {href, text}: what it is about; `action` is {text, run}. A notice with the same `key`, which is
 * its text unless given, is replaced.
 */
export function toast(text, { kind = "good", link = null, action = null, key = text } = {}) {
  for (const shown of [...region.children]) if ((shown.dataset.key ?? shown.textContent.trim()) === key) shown.remove();
  const element = document.createElement("p");
  element.className = `toast is-${kind}`;
  element.dataset.key = key;
  element.append(text);
  if (link) {
    const anchor = document.createElement("a");
    anchor.href = link.href;
    anchor.textContent = link.text;
    element.append(" ", anchor);
  }
  if (action) element.append(" ", button(action));
  region.append(element);
  settle(element, kind);
  for (const old of [...region.querySelectorAll(".is-good")].slice(0, Math.max(0, region.children.length - MOST))) old.remove();
  return element;
}

function button({ text, run }) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "toast-action";
  made.textContent = text;
  made.addEventListener("click", () => run(made));
  return made;
}

function settle(element, kind) {
  const close = document.createElement("button");
  close.type = "button";
  close.className = "toast-close";
  close.setAttribute("aria-label", "Close");
  close.textContent = "×";
  close.addEventListener("click", () => element.remove());
  element.prepend(close);
  const subject = element.querySelector("a");
  if (subject) {
    element.classList.add("is-link");
    element.addEventListener("click", (event) => event.target.closest("a, button") || hasSelection() || subject.click());
  }
  if (kind === "good") fade(element);
}

const hasSelection = () => !getSelection().isCollapsed;

// Not from under the hand or the focus.
function fade(element) {
  setTimeout(() => (element.matches(":hover, :focus-within") ? fade(element) : element.remove()), SHOWN_FOR);
}

/** Give the notices that came with the page a way to be closed. */
export function adopt() {
  for (const element of [...region.children]) settle(element, element.classList.contains("is-bad") ? "bad" : "good");
}

/** Tell of an answer that is not what was asked for; gives its problem detail, which may be known. The page stays. */
export async function refused(answer, known = null) {
  const problem = known ?? (await read(answer)) ?? { detail: `The service answered ${answer.status}.` };
  if (answer.status === 401) {
    toast("You are signed out.", { kind: "bad", link: { href: loginUrl(), text: "Sign in" }, key: "signed-out" });
  } else if (answer.status === 429 || answer.status === 503) {
    const seconds = retryAfter(answer);
    const when = seconds ? ` Try again in ${seconds} s.` : "";
    toast(`${problem.detail}${when}`, { kind: "bad", key: problem.detail });
  } else if (problem.request_id) {
    toast(problem.detail, { kind: "bad", key: "failure", action: copying(details(answer, problem)) });
  } else {
    toast(problem.detail ?? problem.title, { kind: "bad" });
  }
  return problem;
}

/** Seconds after which the service wants to be asked again; 0 when it does not say. */
export const retryAfter = (answer) => Math.max(0, Math.ceil(Number(answer.headers.get("Retry-After")) || 0));

/** The service does not answer at all. */
export function unreachable() {
  toast("The service can't be reached.", { kind: "bad", key: "unreachable" });
}

export const loginUrl = () => `/login?next=${encodeURIComponent(location.pathname + location.search)}`;

async function read(answer) {
  try {
    return await answer.json();
  } catch {
    return null;
  }
}

function details(answer, { status, detail, request_id: id }) {
  const url = new URL(answer.url);
  return `${new Date().toISOString()} ${url.pathname}${url.search} answered ${status}, request ${id}: ${detail}`;
}

function copying(text) {
  const run = async (pressed) => {
    pressed.textContent = (await copy(text, pressed)) ? "Copied" : "Could not be copied";
  };
  return { text: "Copy details", run };
}
