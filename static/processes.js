// What is selected in the list of processes: by id, so that updates and other pages of the list keep it.

import { refresh, subscribe } from "./live.js";

const KEY = "procdeck.selection";
const MOST_IN_ADDRESS = 100;
const MOST = 5000;

const overview = document.getElementById("overview");
const bar = document.getElementById("bulk-bar");
const list = document.getElementById("list");
const query = bar.dataset.query;

// { ids: Map of id to name, all: the conditions whose every process is selected, or null, count: how many those are }
let selection = read();
let lastTicked = null;

function read() {
  try {
    const kept = JSON.parse(sessionStorage.getItem(KEY) ?? "{}");
    return { ids: new Map(kept.ids ?? []), all: kept.all ?? null, count: kept.count ?? null };
  } catch {
    return { ids: new Map(), all: null, count: null };
  }
}

function keep() {
  try {
    if (isEmpty()) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, JSON.stringify({ ids: [...selection.ids], all: selection.all, count: selection.count }));
  } catch {
    // Without storage the selection lasts as long as the page.
  }
}

const isEmpty = () => selection.all === null && selection.ids.size === 0;
const boxes = () => [...list.querySelectorAll("[data-tick]")];
const nameOf = (box) => box.closest("tr").querySelector(".c-name a").textContent;

function clear() {
  selection = { ids: new Map(), all: null, count: null };
}

// --- showing it ---

function show() {
  // All of one search is not all of another.
  if (selection.all !== null && selection.all !== query) clear();
  const all = selection.all !== null;
  for (const box of boxes()) box.checked = all || selection.ids.has(box.value);
  const ticked = boxes().filter((box) => box.checked).length;
  const page = document.getElementById("tick-page");
  if (page) {
    page.checked = ticked > 0 && ticked === boxes().length;
    page.indeterminate = ticked > 0 && !page.checked;
  }
  const empty = isEmpty();
  bar.hidden = empty;
  overview.toggleAttribute("data-ui-selecting", !empty);
  if (!empty) list.setAttribute("data-ui-ticking", "");
  if (!empty) list.setAttribute("data-ui-selecting", "");
  else list.removeAttribute("data-ui-selecting");
  say();
  keep();
}

function say() {
  const place = document.getElementById("bulk-count");
  const elsewhere = [...selection.ids.keys()].filter((id) => !document.getElementById(`p-${id}`)).length;
  let text = "";
  if (selection.all !== null) text = selection.count === null ? "All that match are selected" : `All ${format(selection.count)} that match are selected`;
  else if (selection.ids.size) text = `${format(selection.ids.size)} selected${elsewhere ? `, ${format(elsewhere)} of them not on this page` : ""}`;
  if (place.textContent !== text) place.textContent = text;
  const more = document.getElementById("bulk-all");
  more.hidden = selection.all !== null;
  const total = bar.dataset.total;
  more.textContent = total ? `Select all ${format(Number(total))} matching` : "Select all matching";
}

const format = (number) => number.toLocaleString("en");

// --- changing it ---

function tick(box, is) {
  if (selection.all !== null) {
    // One less than all is what is ticked on this page.
    clear();
    for (const other of boxes()) if (other !== box) selection.ids.set(other.value, nameOf(other));
  }
  if (is && selection.ids.size < MOST) selection.ids.set(box.value, nameOf(box));
  else selection.ids.delete(box.value);
}

list.addEventListener("click", (event) => {
  const box = event.target.closest("[data-tick]");
  if (!box) return;
  const all = boxes();
  const [from, to] = [all.findIndex((other) => other.value === lastTicked), all.indexOf(box)];
  if (event.shiftKey && from >= 0) {
    for (const other of all.slice(Math.min(from, to), Math.max(from, to) + 1)) tick(other, box.checked);
  } else {
    tick(box, box.checked);
  }
  lastTicked = box.value;
  show();
});

// Shift and a click on a label selects text in some browsers.
list.addEventListener("mousedown", (event) => event.shiftKey && event.target.closest(".c-tick") && event.preventDefault());

list.addEventListener("change", (event) => {
  if (event.target.id !== "tick-page") return;
  const is = event.target.checked;
  for (const box of boxes()) tick(box, is);
  show();
});

document.getElementById("bulk-clear").addEventListener("click", () => {
  clear();
  show();
  document.getElementById("tick-page")?.focus();
});

document.getElementById("bulk-all").addEventListener("click", () => {
  clear();
  selection.all = query;
  selection.count = bar.dataset.total ? Number(bar.dataset.total) : null;
  show();
});

// --- doing something to it ---

bar.addEventListener("click", (event) => {
  const action = event.target.closest("[data-bulk]")?.dataset.bulk;
  if (!action) return;
  if (selection.all !== null) {
    location.assign(`/operations/new?action=${action}&all=1${selection.all ? `&${selection.all}` : ""}`);
    return;
  }
  const ids = [...selection.ids.keys()];
  if (ids.length <= MOST_IN_ADDRESS) location.assign(`/operations/new?action=${action}&ids=${ids.join(",")}${query ? `&${query}` : ""}`);
  else post(action, ids);
});

// More than an address can hold.
function post(action, ids) {
  const form = document.createElement("form");
  form.method = "post";
  form.action = "/operations/new";
  const fields = { ...Object.fromEntries(new URLSearchParams(query)), action, ids: ids.join(",") };
  for (const [name, value] of Object.entries(fields)) {
    const input = document.createElement("input");
    input.type = "hidden";
    input.name = name;
    input.value = value;
    form.append(input);
  }
  document.body.append(form);
  form.submit();
}

// --- how many match, asked for when it becomes interesting ---

let asked = false;

async function ask() {
  if (asked || bar.dataset.total || isEmpty()) return;
  asked = true;
  try {
    const answer = await fetch(`/operations/count?${query}`, { headers: { Accept: "application/json" } });
    if (!answer.ok) return;
    const { count, exact } = await answer.json();
    if (exact) bar.dataset.total = String(count);
    show();
  } catch {
    // It is counted anyway before anything is done.
  }
}

// --- on phones the boxes come when they are asked for ---

const select = document.getElementById("select-rows");
select?.addEventListener("click", () => {
  const on = select.getAttribute("aria-pressed") !== "true";
  select.setAttribute("aria-pressed", String(on));
  list.toggleAttribute("data-ui-ticking", on);
  if (!on) {
    clear();
    show();
  }
});

// --- when it was last asked for, by the clock of who reads it ---

function clock() {
  for (const time of document.querySelectorAll("time[data-clock]")) time.textContent = new Date(time.dateTime).toLocaleTimeString("en-GB");
}

document.addEventListener("updated", () => {
  clock();
  show();
});
// Back in the history: the boxes are as the browser left them.
addEventListener("pageshow", () => {
  selection = read();
  show();
});
list.addEventListener("click", ask);
list.addEventListener("change", ask);
// Something may have changed between the making of the page and the opening of its stream.
subscribe({ on: { hello: () => refresh() } });

clock();
show();
ask();
