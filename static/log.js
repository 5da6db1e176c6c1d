// The log. The server makes the lines, as HTML in chunks; here they are put in their place, never made. The page keeps a
// part of the log: up to MOST lines that hang together, and knows where they go on in both directions.

import { reconnect, subscribe } from "./live.js";
import { copy } from "./shell.js";
import { toast } from "./toasts.js";

const CHUNK = 500;
const MOST = 20_000;
/** Lines that are loaded at once where some were passed over. */
const MOST_SKIPPED = 2000;
const LINE_HEIGHT = 1.5;
const SHOWN_AFTER = 400;

const $ = (id) => document.getElementById(id);
const log = $("log");
const panel = $("log-panel");
const follow = $("log-follow");
const pill = $("log-pill");
const empty = $("log-empty");
const filter = $("log-filter");
const number = new Intl.NumberFormat("en");

function begin() {
  settings();
  bars();
  fit();
  adopt();
  for (const chunk of chunks()) dress(chunk);
  subscribe({ params: asked, on: { log: written, "log-skip": skipped, "log-gap": gap, "log-end": ended, "log-refused": refused, "log-error": refused }, state: told });
  document.addEventListener("updated", look);
  following();
  going();
  filtering();
  finding();
  picking();
  downloading();
  watchEdges();
  updated();
  const at = anchor();
  if (at) goTo(at);
  else if (log.dataset.target) show($(`o${log.dataset.target}`));
  else if (follow.checked) toEnd();
}

// The end of the log is in the window with the head of the page above it, where there is room for both.
function fit() {
  if (panel.classList.contains("is-full")) return;
  const above = log.getBoundingClientRect().top + scrollY;
  const below = panel.getBoundingClientRect().bottom - log.getBoundingClientRect().bottom;
  log.style.setProperty("--around", `${Math.ceil(above + below + 12)}px`);
}

// --- what the page holds ---

const edge = {};
const live = {};

function adopt() {
  const { before, after, earlier, later, total, query } = log.dataset;
  Object.assign(edge, { before, after, earlier: earlier === "1", later: later === "1", query });
  Object.assign(live, { after, position: Number(after), total: Number(total), ended: false, unseen: 0, seen: Number(total) });
}

const chunks = () => [...log.querySelectorAll(":scope > .chunk")];
const lines = () => log.querySelectorAll(".l");
const offsetOf = (line) => Number(line.id.slice(1));
const isAttached = () => !edge.later;

/** A piece of the log from the server; null when it was refused, and the page says why. */
async function piece(place, query = edge.query) {
  const params = new URLSearchParams(query);
  for (const [name, value] of Object.entries(place)) params.set(name, value);
  const answer = await ask(`lines?${params}`);
  if (!answer) return null;
  const template = document.createElement("template");
  template.innerHTML = await answer.text();
  return template.content.firstElementChild;
}

async function ask(path) {
  let answer;
  try {
    answer = await fetch(`${log.dataset.url}/log/${path}`, { headers: { Accept: "application/json" } });
  } catch {
    say("The service cannot be reached now; try again.");
    return null;
  }
  if (answer.redirected) return location.reload();
  if (answer.ok) {
    say("");
    return answer;
  }
  const problem = await answer.json().catch(() => ({}));
  say(problem.detail ?? `The service answered ${answer.status}.`);
  return null;
}

function say(text) {
  $("log-error").textContent = text;
  $("log-error").hidden = !text;
}

function replace(window) {
  for (const chunk of chunks()) chunk.remove();
  const { before, after, earlier, later, searched } = window.dataset;
  Object.assign(edge, { before, after, earlier: earlier === "1", later: later === "1", searched });
  for (const chunk of [...window.children]) {
    bottom.before(chunk);
    dress(chunk);
  }
  attach(after);
  updated();
}

/** The end of the page is the end of the log: what is written is added from there. */
function attach(after) {
  if (edge.later) return;
  const isBehind = live.position > Number(after);
  live.after = after;
  live.unseen = 0;
  live.seen = live.total;
  if (isBehind && !live.ended) reconnect();
}

let loading = null;

function load(what) {
  loading ??= what().finally(() => {
    loading = null;
    updated();
  });
  return loading;
}

async function loadEarlier() {
  const window = await piece({ before: edge.before });
  if (!window) return stopAsking("earlier");
  edge.before = window.dataset.before;
  edge.earlier = window.dataset.earlier === "1";
  edge.searched = window.dataset.searched;
  steady(() => {
    const first = chunks()[0] ?? bottom;
    for (const chunk of [...window.children]) {
      first.before(chunk);
      dress(chunk);
    }
    if (chunks().length) dress(chunks()[0]);
    trim("later");
  });
}

async function loadLater() {
  const window = await piece({ after: edge.after });
  if (!window) return stopAsking("later");
  edge.after = window.dataset.after;
  edge.later = window.dataset.later === "1";
  edge.searched = window.dataset.searched;
  steady(() => {
    for (const chunk of [...window.children]) {
      for (const line of [...chunk.querySelectorAll(".l")]) $(line.id)?.remove();
      bottom.before(chunk);
      dress(chunk);
    }
    trim("earlier");
  });
  attach(edge.after);
}

// After a refusal the bar stays, to be pressed; it is not asked again and again.
function stopAsking(direction) {
  refusedAt[direction] = performance.now();
}

const refusedAt = { earlier: -Infinity, later: -Infinity };

function trim(side) {
  let count = lines().length;
  while (count > MOST && chunks().length > 1) {
    const chunk = side === "earlier" ? chunks()[0] : chunks().at(-1);
    const first = chunk.querySelector(".l");
    count -= chunk.querySelectorAll(".l").length;
    if (side === "later") {
      edge.after = first ? offsetOf(first) : edge.after;
      edge.later = true;
    }
    chunk.remove();
    if (side === "earlier") {
      const kept = log.querySelector(".l");
      edge.before = kept ? offsetOf(kept) : edge.before;
      edge.earlier = true;
    }
  }
}

/** Change what stands above or below without moving what is read. */
function steady(change, anchor = null) {
  const box = log.getBoundingClientRect();
  const seen = anchor ?? lineAt(box.top + 1);
  const before = seen?.getBoundingClientRect().top;
  change();
  if (!seen?.isConnected) return;
  const moved = seen.getBoundingClientRect().top - before;
  if (moved) log.scrollTop += moved;
}

function lineAt(y) {
  const box = log.getBoundingClientRect();
  for (let step = 0; step < 60; step += 6) {
    const found = document.elementFromPoint(box.left + box.width / 2, y + step)?.closest(".l");
    if (found && log.contains(found)) return found;
  }
  return null;
}

// --- the bars at both ends ---

const top = bar("earlier");
const bottom = bar("later");

function bar(direction) {
  const element = document.createElement("div");
  element.className = "log-edge";
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button is-quiet is-small";
  button.addEventListener("click", () => load(direction === "earlier" ? loadEarlier : loadLater));
  element.append(button);
  return element;
}

function bars() {
  log.prepend(top);
  log.append(bottom);
}

function watchEdges() {
  const seen = new IntersectionObserver(() => reach(), { root: log, rootMargin: "900px 0px" });
  seen.observe(top);
  seen.observe(bottom);
  // While a reader goes on, the element itself may stay in sight.
  log.addEventListener("scroll", () => reach(), { passive: true });
}

function isNear(element) {
  const [box, frame] = [element.getBoundingClientRect(), log.getBoundingClientRect()];
  return frame.height > 0 && box.bottom > frame.top - 900 && box.top < frame.bottom + 900;
}

function reach() {
  if (loading || !log.clientHeight) return;
  const now = performance.now();
  if (edge.earlier && isNear(top) && now - refusedAt.earlier > 10_000) load(loadEarlier);
  else if (edge.later && isNear(bottom) && now - refusedAt.later > 10_000) load(loadLater);
}

/** Say what is shown, after any change of it. */
function updated() {
  const all = lines();
  const [first, last] = [numberOf(all[0]), numberOf(all[all.length - 1])];
  live.total = Math.max(live.total, last);
  empty.hidden = all.length > 0 || edge.earlier;
  const isFiltered = edge.query !== "";
  // Lines that came too fast to be sent are new, too.
  if (!isFiltered) live.unseen = Math.max(live.unseen, live.total - live.seen);
  const searched = isFiltered && edge.searched && edge.earlier ? `Searched back to ${clock(edge.searched)}, ` : "";
  label(top, edge.earlier, isFiltered ? `${searched || "Earlier lines, "}load more` : `${number.format(Math.max(0, first - 1 - Number($("log-now").dataset.linesRemoved)))} earlier lines, load`);
  label(bottom, edge.later, isFiltered ? "Later lines, load" : `${number.format(Math.max(0, live.total - last))} later lines, load`);
  const count = isFiltered ? `${number.format(all.length)} matching lines, ` : "";
  if ($("log-size-now") && live.position > 0) $("log-size-now").textContent = size_(live.position - Number($("log-now").dataset.removed));
  $("log-range").textContent = all.length ? `${count}${number.format(first)}–${number.format(last)} of ${number.format(live.total)}` : "";
  pill.hidden = follow.checked || live.unseen === 0;
  pill.textContent = `${number.format(live.unseen)} new line${live.unseen === 1 ? "" : "s"} ↓`;
  repaint();
  requestAnimationFrame(reach);
}

function label(element, isShown, text) {
  element.hidden = !isShown;
  element.firstElementChild.textContent = text;
}

const numberOf = (line) => Number(line?.firstElementChild.textContent ?? 0);

// --- lines as they come in ---

const isStarted = () => "started" in $("log-now").dataset;
let wasStarted = isStarted();

function asked() {
  if (!isStarted() || live.ended) return {};
  return { log: log.dataset.process, after: live.after, ...Object.fromEntries(new URLSearchParams(edge.query)) };
}

function look() {
  const now = $("log-now").dataset;
  fit();
  $("log-removed").hidden = !now.removedNote;
  if ($("log-removed").textContent !== now.removedNote) $("log-removed").textContent = now.removedNote;
  fullState();
  if (!lines().length && empty.textContent !== now.empty) empty.textContent = now.empty;
  if (isStarted() && !wasStarted) {
    wasStarted = true;
    reconnect();
  }
}

function told(name, info = {}) {
  const words = { live: "live", reconnecting: `reconnecting in ${info.seconds} s`, paused: "paused", "signed-out": "signed out" };
  state(live.ended ? "complete" : isStarted() ? (words[name] ?? "") : "");
}

function state(text) {
  $("log-state").textContent = text;
}

function written({ html, after, position, count, number: total }) {
  live.position = Math.max(live.position, position);
  live.total = Math.max(live.total, total);
  grown();
  if (!isAttached()) {
    live.unseen += count;
    updated();
    return;
  }
  live.after = edge.after = after;
  const template = document.createElement("template");
  template.innerHTML = html;
  let added = 0;
  for (const row of [...template.content.children]) {
    const present = row.id && $(row.id);
    if (present) {
      for (const name of ["picked", "found"]) row.classList.toggle(name, present.classList.contains(name));
      present.replaceWith(row);
    } else {
      lastChunk().append(row);
      added += row.id ? 1 : 0;
    }
    dressRow(row);
  }
  for (const chunk of chunks().slice(-2)) size(chunk);
  if (follow.checked) {
    trim("earlier");
    toEnd();
  } else {
    live.unseen += added;
    // Who reads keeps what is read; lines that are too many are dropped when the reader goes on.
    if (lines().length > MOST + CHUNK) steady(() => trim("later"));
  }
  updated();
}

function lastChunk() {
  const last = chunks().at(-1);
  if (last && last.childElementCount < CHUNK) return last;
  const added = document.createElement("div");
  added.className = "chunk";
  bottom.before(added);
  return added;
}

function mark(text, button = null) {
  const row = document.createElement("div");
  row.className = "mark";
  row.append(text);
  if (button) row.append(" ", button);
  lastChunk().append(row);
  if (follow.checked) toEnd();
}

function gap({ from, to }) {
  if (isAttached()) mark(`${size_(to - from)} were removed here: the log is kept within a budget.`);
}

function skipped({ from, to, lines: count, after }) {
  live.position = Math.max(live.position, to);
  if (!isAttached()) return;
  live.after = edge.after = after;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button is-small";
  button.textContent = "load";
  const what = count === null ? size_(to - from) : `${number.format(count)} line${count === 1 ? "" : "s"}`;
  mark(`${what} skipped, they came too fast to be shown.`, button);
  button.addEventListener("click", () => fill(button.parentElement, button, from, to));
}

async function fill(row, button, from, to) {
  button.disabled = true;
  const window = await piece({ after: from, count: MOST_SKIPPED });
  button.disabled = false;
  if (!window) return;
  const known = [...window.querySelectorAll(".l")].filter((line) => offsetOf(line) < to && !$(line.id));
  steady(() => {
    for (const line of known) {
      row.before(line);
      dressRow(line);
    }
    size(row.parentElement);
  });
  const after = Number(window.dataset.after);
  if (after >= to || window.dataset.later !== "1") {
    row.remove();
  } else {
    row.firstChild.textContent = `${size_(to - after)} more skipped.`;
    button.replaceWith(again(row, after, to));
  }
  updated();
}

function again(row, from, to) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button is-small";
  button.textContent = "load";
  button.addEventListener("click", () => fill(row, button, from, to));
  return button;
}

function size_(bytes) {
  if (bytes < 1024) return `${bytes} bytes`;
  return bytes < 1024 ** 2 ? `${(bytes / 1024).toFixed(1)} KiB` : `${(bytes / 1024 ** 2).toFixed(1)} MiB`;
}

function ended() {
  live.ended = true;
  state("complete");
  updated();
}

function refused(problem) {
  say(problem.detail ?? problem.text);
}

// --- how lines look ---

const choices = { wrap: true, numbers: true, colours: true, times: "browser", size: "normal", "with-times": false, "with-colours": false };

function settings() {
  try {
    Object.assign(choices, JSON.parse(localStorage.getItem("log") ?? "{}"));
  } catch {
    // Private windows may refuse; then it is as it is for everybody.
  }
  for (const [name, value] of Object.entries(choices)) {
    const field = $(`log-${name}`);
    if (!field) continue;
    if (field.type === "checkbox") field.checked = value;
    else field.value = value;
    field.addEventListener("change", () => {
      choices[name] = field.type === "checkbox" ? field.checked : field.value;
      keep();
      steady(apply);
      if (name === "times") for (const line of lines()) stamp(line);
    });
  }
  apply();
  $("log-full").addEventListener("click", () => full(!panel.classList.contains("is-full")));
  const tools = panel.querySelector(".log-more-tools");
  const isPhone = matchMedia("(max-width: 640px)");
  document.addEventListener("click", (event) => {
    if (isPhone.matches && tools.open && !tools.contains(event.target)) tools.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && isPhone.matches && !tools.querySelector("details[open]")) tools.open = false;
  });
  filter.addEventListener("submit", () => isPhone.matches && (tools.open = false));
  $("log-full-close").addEventListener("click", () => full(false));
  $("log-fold").addEventListener("click", foldAll);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && panel.classList.contains("is-full") && !document.querySelector("details.menu[open]")) full(false);
  });
}

function keep() {
  try {
    localStorage.setItem("log", JSON.stringify(choices));
  } catch {
    // Then it is not remembered.
  }
}

function apply() {
  log.classList.toggle("wrap", choices.wrap);
  log.classList.toggle("no-numbers", !choices.numbers);
  log.classList.toggle("no-colours", !choices.colours);
  log.classList.toggle("no-times", choices.times === "none");
  log.dataset.size = choices.size;
}

function full(isFull) {
  panel.classList.toggle("is-full", isFull);
  document.documentElement.classList.toggle("has-full-log", isFull);
  $("log-full").textContent = isFull ? "Leave full screen" : "Full screen";
  for (const open of panel.querySelectorAll("details[open]")) open.open = false;
  $("log-full-head").hidden = !isFull;
  fullState();
  fit();
  if (follow.checked) toEnd();
  else log.focus();
}

function fullState() {
  $("log-full-state").textContent = document.querySelector(".banner .status")?.textContent.trim() ?? "";
}

function dress(chunk) {
  for (const row of chunk.children) dressRow(row);
  size(chunk);
}

// What a chunk out of sight is taken to be high, until it was seen.
function size(chunk) {
  if (chunk) chunk.style.containIntrinsicBlockSize = `auto ${(chunk.childElementCount * LINE_HEIGHT * 0.86).toFixed(1)}rem`;
}

function dressRow(row) {
  if (!row.id) return;
  stamp(row);
  if (row.classList.contains("cont")) foldable(row);
}

function stamp(line) {
  const time = line.children[1];
  time.textContent = clock(time.dateTime);
}

const two = (value) => String(value).padStart(2, "0");
const three = (value) => String(value).padStart(3, "0");

function clock(text) {
  if (choices.times === "utc" || choices.times === "none") return text.slice(11, 23);
  let moment = new Date(text);
  if (Number.isNaN(moment.getTime())) return "";
  if (choices.times === "since" && log.dataset.started) {
    const passed = moment - Date.parse(log.dataset.started);
    const whole = Math.abs(passed);
    return `${passed < 0 ? "-" : "+"}${two(Math.floor(whole / 3_600_000))}:${two(Math.floor(whole / 60_000) % 60)}:${two(Math.floor(whole / 1000) % 60)}.${three(whole % 1000)}`;
  }
  if (choices.times === "server") {
    moment = new Date(moment.getTime() + zoneMinutes(log.dataset.zone) * 60_000);
    return moment.toISOString().slice(11, 23);
  }
  return `${two(moment.getHours())}:${two(moment.getMinutes())}:${two(moment.getSeconds())}.${three(moment.getMilliseconds())}`;
}

function zoneMinutes(text) {
  const [, sign, hours, minutes] = /([+-])(\d\d):(\d\d)/.exec(text) ?? [null, "+", "0", "0"];
  return (sign === "-" ? -1 : 1) * (Number(hours) * 60 + Number(minutes));
}

// --- tracebacks fold under their first line ---

const isErr = (line) => line.classList.contains("se");

function before(row) {
  return row.previousElementSibling ?? row.parentElement?.previousElementSibling?.lastElementChild ?? null;
}

function after(row) {
  return row.nextElementSibling ?? row.parentElement?.nextElementSibling?.firstElementChild ?? null;
}

function foldable(row) {
  let head = before(row);
  while (head && (!head.id || isErr(head) !== isErr(row))) head = before(head);
  if (!head) return;
  if (head.classList.contains("cont")) {
    row.hidden = false;
    return;
  }
  if (head.querySelector(".fold")) return;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "fold";
  button.setAttribute("aria-expanded", "true");
  button.setAttribute("aria-label", "The lines of this traceback");
  head.lastElementChild.before(button);
}

function fold(head, isOpen) {
  const button = head.querySelector(".fold");
  button.setAttribute("aria-expanded", String(isOpen));
  for (let row = after(head); row; row = after(row)) {
    if (!row.id || isErr(row) !== isErr(head)) continue;
    if (!row.classList.contains("cont")) break;
    // Found by the browser's own search even so.
    if (isOpen) row.removeAttribute("hidden");
    else row.setAttribute("hidden", "until-found");
  }
}

function foldAll() {
  const heads = [...log.querySelectorAll(".fold")];
  const isOpen = !heads.some((button) => button.getAttribute("aria-expanded") === "true");
  const seen = lineAt(log.getBoundingClientRect().top + 1);
  steady(() => heads.forEach((button) => fold(button.closest(".l"), isOpen)), seen && headOf(seen));
  $("log-fold").textContent = isOpen ? "Fold tracebacks" : "Unfold tracebacks";
}

function headOf(row) {
  let head = row;
  while (head && (!head.id || head.classList.contains("cont") || isErr(head) !== isErr(row))) head = before(head);
  return head;
}

function unfold(row) {
  const head = headOf(row);
  if (head?.querySelector(".fold")) fold(head, true);
}

log?.addEventListener("beforematch", (event) => unfold(event.target.closest(".l")));
log?.addEventListener("click", (event) => {
  const button = event.target.closest(".fold");
  if (button) steady(() => fold(button.closest(".l"), button.getAttribute("aria-expanded") !== "true"), button.closest(".l"));
});

// --- following ---

let touched = -Infinity;
let lastTop = 0;

function following() {
  // Only the reader's own scrolling switches: lines that grow, and a window that changes, move the end away as well.
  for (const input of ["wheel", "touchmove", "keydown", "pointerdown"]) {
    log.addEventListener(input, () => (touched = performance.now()), { passive: true });
  }
  log.addEventListener("pointermove", (event) => event.buttons && (touched = performance.now()), { passive: true });
  log.addEventListener("scroll", () => {
    const isUp = log.scrollTop < lastTop - 2;
    lastTop = log.scrollTop;
    if (performance.now() - touched > 1000) return;
    if (isUp) setFollow(false);
    else if (isAtEnd() && isAttached() && !isFinding()) setFollow(true);
  });
  document.addEventListener("selectionchange", () => {
    const selection = getSelection();
    if (!selection.isCollapsed && log.contains(selection.anchorNode)) setFollow(false);
  });
  new ResizeObserver(() => follow.checked && toEnd()).observe(log);
  // The head of the page grows and shrinks: an answer, reasons, a progress bar.
  const head = new ResizeObserver(() => fit());
  for (const each of [$("about"), $("answer"), $("tabs")]) if (each) head.observe(each);
  addEventListener("resize", fit);
  follow.addEventListener("change", () => setFollow(follow.checked, true));
  document.addEventListener("key:f", () => setFollow(!follow.checked, true));
  pill.addEventListener("click", () => {
    setFollow(true, true);
    log.focus();
  });
}

async function setFollow(isOn, isAsked = false) {
  if (follow.checked !== isOn || isAsked) {
    follow.checked = isOn;
    if (isOn) {
      closeFind();
      if (!isAttached()) await goTo({ at: "end" });
      live.unseen = 0;
      if (follow.checked) toEnd();
    }
    updated();
  }
}

// Chunks get their true height as they come into sight, and the end moves with it.
function toEnd(frames = 10) {
  log.scrollTop = log.scrollHeight;
  lastTop = log.scrollTop;
  live.unseen = 0;
  live.seen = live.total;
  pill.hidden = true;
  if (frames) requestAnimationFrame(() => follow.checked && !isAtEnd() && toEnd(frames - 1));
}

function isAtEnd() {
  return log.scrollHeight - log.scrollTop - log.clientHeight < 24;
}

// --- going somewhere ---

/** The place that the address names behind its #, if any: a line by its place in the log, or by its number. */
function anchor() {
  const [, kind, first, last] = /^#(o|L)(\d+)(?:-[oL]?(\d+))?$/.exec(location.hash) ?? [];
  if (!kind) return null;
  return kind === "L" ? { line: first, toLine: last } : { at: first, to: last };
}

/** Show a place: {at}, {line} or {time}; {at: "start" | "end" | "traceback"}. */
async function goTo({ to, toLine, ...place }, query = edge.query) {
  const isEnd = place.at === "end";
  if (!isEnd) setFollow(false);
  const present = query === edge.query && /^\d+$/.test(place.at ?? "") ? $(`o${place.at}`) : null;
  let target = present;
  if (!present) {
    if (loading) await loading;
    const window = await piece(place.time ? { ...place, ...zone() } : place, query);
    if (!window) return false;
    edge.query = query;
    replace(window);
    if (place.at === "traceback" && !window.dataset.target) toast("There is no traceback in this log.");
    target = window.dataset.target ? $(`o${window.dataset.target}`) : null;
    if (place.at === "start") log.scrollTop = 0;
    if (isEnd) log.scrollTop = log.scrollHeight;
  }
  const last = to ? $(`o${to}`) : toLine ? [...lines()].findLast((line) => numberOf(line) <= Number(toLine)) : null;
  if (target) pick(target, last);
  const asked = Number(String(place.line ?? "").replaceAll(",", ""));
  if (target && asked && numberOf(target) !== asked) toast(`There is no line ${number.format(asked)} that is kept; this is the nearest.`);
  show(target);
  return true;
}

function show(line) {
  if (!line) return;
  if (line.hidden) unfold(line);
  // Twice: what lies in between gets its true height on the way.
  for (const _ of [1, 2]) {
    const [box, frame] = [line.getBoundingClientRect(), log.getBoundingClientRect()];
    log.scrollTop += box.top - frame.top - (frame.height - Math.min(box.height, frame.height)) / 3;
  }
  lastTop = log.scrollTop;
}

function zone() {
  const name = { utc: "UTC", server: "server" }[choices.times] ?? Intl.DateTimeFormat().resolvedOptions().timeZone;
  return { zone: name, offset: String(-new Date().getTimezoneOffset()) };
}

function going() {
  for (const link of panel.querySelectorAll("a[data-go]")) {
    link.addEventListener("click", async (event) => {
      event.preventDefault();
      link.closest("details.menu")?.removeAttribute("open");
      const place = Object.fromEntries(new URLSearchParams(link.dataset.go));
      if (place.at === "end" && !live.ended) await setFollow(true, true);
      else await goTo(place);
      log.focus({ preventScroll: true });
    });
  }
  for (const form of panel.querySelectorAll("form.log-go")) {
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (await goTo(Object.fromEntries(new FormData(form)))) form.closest("details").removeAttribute("open");
      log.focus({ preventScroll: true });
    });
  }
  addEventListener("popstate", revisit);
  addEventListener("hashchange", () => {
    const place = anchor();
    if (place) goTo(place);
  });
}

// --- filtering ---

function filtering() {
  filter.addEventListener("submit", (event) => {
    event.preventDefault();
    refilter();
  });
  filter.addEventListener("change", (event) => {
    if (event.target.name !== "q" && (event.target.matches("select") || filter.elements.q.value)) refilter();
  });
  // The cross in the field.
  filter.elements.q.addEventListener("search", () => filter.elements.q.value || refilter());
  $("log-clear").addEventListener("click", (event) => {
    event.preventDefault();
    clearFilter();
  });
}

function wanted() {
  const found = new URLSearchParams();
  for (const [name, value] of new FormData(filter)) if (value) found.set(name, value);
  if (!found.get("q")) for (const name of ["q", "regex", "case", "invert"]) found.delete(name);
  return found.toString();
}

async function refilter(place = { at: "end" }, isKept = false) {
  const query = wanted();
  if (query === edge.query && place.at === "end") return;
  if (!(await goTo(place, query))) {
    filter.elements.q.setAttribute("aria-invalid", "true");
    return;
  }
  filter.elements.q.removeAttribute("aria-invalid");
  $("log-clear").hidden = query === "";
  empty.textContent = query ? "No line matches. The log has lines that do not." : $("log-now").dataset.empty;
  if (!isKept) history.replaceState(null, "", `${log.dataset.url}${query ? `?${query}` : ""}`);
  log.classList.toggle("filtered", query !== "");
  downloads();
  if (!live.ended) reconnect();
  updated();
}

/** Filter as the address says: the reader went back, or on. */
async function revisit() {
  const given = new URLSearchParams(location.search);
  for (const name of ["q", "level", "stream"]) filter.elements[name].value = given.get(name) ?? "";
  for (const name of ["regex", "case", "invert"]) filter.elements[name].checked = given.get(name) === "1";
  if (wanted() !== edge.query) await refilter(anchor() ?? { at: given.get("at") ?? "end" }, true);
}

async function clearFilter(place, isKept = false) {
  for (const name of ["q", "level", "stream"]) filter.elements[name].value = "";
  for (const name of ["regex", "case", "invert"]) filter.elements[name].checked = false;
  await refilter(place, isKept);
}

// --- finding ---

// `offsets` are the newest hits, newest first, without gaps; `isListed` tells that no older one was left out. `current` is
// the offset that is gone to, and `newer` how many hits are newer than it: null while nobody has counted them.
const none = () => ({ words: "", offsets: [], count: 0, next: null, current: null, newer: null, isDone: false, isListed: true, isRefused: false, end: 0, said: "", searched: "", longest: null });
const search = { ...none(), run: 0, isFull: false };
const isFinding = () => !$("log-find").hidden;

function finding() {
  const words = $("log-find-words");
  let waiting = 0;
  $("log-find-open").addEventListener("click", () => (isFinding() ? closeFind() : openFind()));
  $("log-find-close").addEventListener("click", () => {
    closeFind();
    log.focus();
  });
  words.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(find, 250);
  });
  for (const name of ["regex", "case"]) $(`log-find-${name}`).addEventListener("change", find);
  $("log-find").addEventListener("submit", (event) => event.preventDefault());
  words.addEventListener("keydown", (event) => {
    if (event.key === "Enter") step(event.shiftKey ? -1 : 1);
    else if (event.key === "Escape") {
      event.preventDefault(); // the browser would empty the field
      event.stopPropagation();
      closeFind();
      log.focus();
    }
  });
  $("log-find-next").addEventListener("click", () => step(1));
  $("log-find-previous").addEventListener("click", () => step(-1));
  document.addEventListener("key:n", () => step(1));
  document.addEventListener("key:N", () => step(-1));
  // Once it is ours, which knows the whole log; twice the browser's.
  document.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.shiftKey || event.altKey || event.key.toLowerCase() !== "f") return;
    if (document.activeElement === words || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    openFind();
  });
}

function openFind() {
  const selected = String(getSelection());
  setFollow(false);
  search.isFull ||= matchMedia("(max-width: 640px)").matches && !panel.classList.contains("is-full");
  if (search.isFull) full(true);
  $("log-find").hidden = false;
  fit();
  $("log-find-open").setAttribute("aria-expanded", "true");
  const words = $("log-find-words");
  if (selected && !selected.includes("\n") && selected.length < 200) words.value = selected;
  words.focus();
  words.select();
  if (words.value) find();
}

function closeFind() {
  if (!isFinding()) return;
  $("log-find").hidden = true;
  say("");
  if (search.isFull) full(false);
  search.isFull = false;
  fit();
  $("log-find-open").setAttribute("aria-expanded", "false");
  search.run += 1;
  Object.assign(search, none());
  log.querySelector(".l.found")?.classList.remove("found");
  tellFound();
  repaint();
}

const MOST_LISTED = 100_000;

function findQuery(more) {
  const params = new URLSearchParams(edge.query);
  params.set("q", search.words);
  params.delete("invert");
  for (const name of ["regex", "case"]) {
    if ($(`log-find-${name}`).checked) params.set(name, "1");
    else params.delete(name);
  }
  for (const [name, value] of Object.entries(more)) params.set(name, value);
  return params;
}

/** One answer of the server; null when it was refused, or something else is looked for meanwhile. */
async function askFound(more, run) {
  const answer = await ask(`find?${findQuery(more)}`);
  if (run !== search.run) return null;
  if (!answer) {
    Object.assign(search, { isRefused: true, isDone: true });
    tellFound();
    return null;
  }
  const found = await answer.json();
  if (run !== search.run) return null;
  search.longest = found.longest ?? search.longest;
  return found;
}

async function find() {
  const run = (search.run += 1);
  Object.assign(search, none(), { words: $("log-find-words").value, began: performance.now() });
  log.querySelector(".l.found")?.classList.remove("found");
  if (!search.words) {
    say("");
    repaint();
    return tellFound();
  }
  setTimeout(tellFound, SHOWN_AFTER);
  let begins = true;
  do {
    const found = await askFound(search.next === null ? {} : { before: search.next }, run);
    if (!found) return;
    search.end = Math.max(search.end, found.end);
    if (search.isListed) search.offsets.push(...found.offsets);
    if (found.count > found.offsets.length || search.offsets.length > MOST_LISTED) search.isListed = false;
    Object.assign(search, { count: search.count + found.count, next: found.next, searched: found.searched });
    if (begins) nearest(run);
    begins = false;
    tellFound();
  } while (search.next !== null);
  search.isDone = true;
  tellFound();
}

// The first one to go to is in sight, or the last one before it.
async function nearest(run) {
  const box = log.getBoundingClientRect();
  const seen = lineAt(box.bottom - 70) ?? lines()[lines().length - 1];
  const limit = seen ? offsetOf(seen) : Number.MAX_SAFE_INTEGER;
  const index = search.offsets.findIndex((offset) => offset <= limit);
  if (index >= 0) return jump(search.offsets[index], index);
  const offset = (await neighbour("before", limit + 1, run)) ?? (await neighbour("after", limit + 1, run));
  if (offset !== null && run === search.run) await jump(offset, null);
}

/** The hit next to a place, however far away; null when there is none. */
async function neighbour(side, at, run) {
  for (;;) {
    const found = await askFound({ neighbour: side, at }, run);
    if (!found) return null;
    if (found.offsets.length) return found.offsets[0];
    if (found.next === null) return null;
    at = found.next;
  }
}

// How many are newer than one that was gone to from elsewhere.
async function rank(offset, run) {
  let [count, next] = [0, null];
  do {
    const found = await askFound({ since: offset + 1, most: 0, before: next ?? search.end }, run);
    if (!found || search.current !== offset) return;
    count += found.count;
    next = found.next;
  } while (next !== null);
  search.newer = count;
  tellFound();
}

async function step(by) {
  if (!isFinding()) return openFind();
  if (search.current === null) return find();
  const run = search.run;
  search.said = "";
  const { current, newer, offsets } = search;
  // The newest stands first, and the next one is further down.
  const index = newer === null ? -1 : newer - by;
  if (newer !== null && index >= 0 && index < offsets.length) return jump(offsets[index], index);
  let offset = await neighbour(by > 0 ? "after" : "before", by > 0 ? current + 1 : current, run);
  if (run !== search.run || search.isRefused) return;
  if (offset !== null) return jump(offset, newer === null || index < 0 ? null : index);
  offset = by > 0 ? await neighbour("after", 0, run) : await neighbour("before", Number.MAX_SAFE_INTEGER, run);
  if (offset === null || run !== search.run) return;
  search.said = by > 0 ? ", on from the start" : ", on from the end";
  return jump(offset, by > 0 ? (search.isDone ? search.count - 1 : null) : offset === offsets[0] ? 0 : null);
}

async function jump(offset, newer) {
  const run = search.run;
  Object.assign(search, { current: offset, newer });
  tellFound();
  if (newer === null) rank(offset, run);
  log.querySelector(".l.found")?.classList.remove("found");
  if (!$(`o${offset}`)) {
    const query = new URLSearchParams(edge.query);
    if (query.has("q")) await clearFilter({ at: String(offset) });
    else await goTo({ at: String(offset) });
  }
  const line = $(`o${offset}`);
  line?.classList.add("found");
  show(line);
  repaint();
}

// What was written since is looked through, too.
let growing = 0;

function grown() {
  if (!isFinding() || !search.words || !search.isDone || search.isRefused || live.position <= search.end) return;
  growing ||= setTimeout(async () => {
    const run = search.run;
    const since = search.end;
    const fresh = [];
    let [count, next, end, isWhole] = [0, null, since, true];
    do {
      const found = await askFound(next === null ? { since } : { since, before: next }, run);
      if (!found) break;
      if (next === null) end = found.end;
      fresh.push(...found.offsets);
      count += found.count;
      isWhole &&= found.count === found.offsets.length;
      next = found.next;
    } while (next !== null);
    growing = 0;
    if (run !== search.run || search.isRefused) return;
    if (isWhole) search.offsets.unshift(...fresh);
    else Object.assign(search, { offsets: fresh, isListed: false });
    search.count += count;
    if (search.newer !== null) search.newer += count;
    search.end = end;
    tellFound();
    grown();
  }, 1500);
}

function tellFound() {
  const out = $("log-found");
  let text = "";
  if (!search.words || search.isRefused) text = "";
  else if (!search.isDone && performance.now() - search.began < SHOWN_AFTER - 10 && !search.count) return;
  else if (!search.count) text = search.isDone ? "not found" : `searching… ${back()}`;
  else if (search.current === null || search.newer === null) text = `…/${number.format(search.count)}${search.said}`;
  else text = `${number.format(Math.max(1, search.count - search.newer))}/${number.format(search.count)}${search.said}`;
  if (search.count && !search.isDone) text += ` … ${back()}`;
  if (text && search.longest) text += `; of longer lines only the first ${number.format(search.longest)} characters are searched`;
  if (out.textContent !== text) out.textContent = text;
}

const back = () => (search.searched ? `back to ${clock(search.searched)}` : "");

// What was found is painted by the browser: nothing in the lines is changed for it.
let painting = 0;

function repaint() {
  if (!("highlights" in CSS)) return;
  cancelAnimationFrame(painting);
  painting = requestAnimationFrame(() => {
    CSS.highlights.delete("log-found");
    CSS.highlights.delete("log-filtered");
    paint("log-filtered", expression(new URLSearchParams(edge.query)));
    if (search.words) {
      const given = { q: search.words, regex: $("log-find-regex").checked ? "1" : "", case: $("log-find-case").checked ? "1" : "" };
      paint("log-found", expression(new URLSearchParams(given)));
    }
  });
}

function expression(query) {
  const words = query.get("q");
  if (!words || query.get("invert")) return null;
  const source = query.get("regex") ? words : words.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  try {
    return new RegExp(source, `gu${query.get("case") ? "" : "i"}`);
  } catch {
    return null; // it is the server's kind of expression, and not quite the browser's
  }
}

function paint(name, pattern) {
  if (!pattern) return;
  const frame = log.getBoundingClientRect();
  const ranges = [];
  for (const chunk of chunks()) {
    const box = chunk.getBoundingClientRect();
    if (box.bottom < frame.top - 2000 || box.top > frame.bottom + 2000) continue;
    for (const text of chunk.querySelectorAll(".x")) {
      if (ranges.length > 2000) break;
      if (text.textContent.length < 5000) mark_(text, pattern, ranges);
    }
  }
  if (ranges.length) CSS.highlights.set(name, new Highlight(...ranges));
}

function mark_(element, pattern, ranges) {
  const whole = element.textContent;
  const walk = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  let node = walk.nextNode();
  let start = 0;
  const place = (at) => {
    while (node && at > start + node.data.length) {
      start += node.data.length;
      node = walk.nextNode();
    }
    return node ? [node, at - start] : null;
  };
  for (const match of whole.matchAll(pattern)) {
    if (!match[0]) continue;
    const from = place(match.index);
    const to = from && place(match.index + match[0].length);
    if (!to) return;
    const range = new Range();
    range.setStart(...from);
    range.setEnd(...to);
    ranges.push(range);
  }
}

let repainting = 0;
log?.addEventListener("scroll", () => {
  clearTimeout(repainting);
  if (search.words || edge.query) repainting = setTimeout(repaint, 120);
}, { passive: true });

// --- one line, or some ---

const picked = { first: null, last: null, origin: null, focus: null };

function picking() {
  log.classList.toggle("filtered", edge.query !== "");
  log.addEventListener("click", (event) => {
    const link = event.target.closest("a.n");
    if (!link) return;
    event.preventDefault();
    const line = link.closest(".l");
    if (event.shiftKey && picked.first) pick(byId(picked.first), line);
    else pick(line);
    history.replaceState(null, "", address());
    getSelection().removeAllRanges();
  });
  log.addEventListener("keydown", pickByKey);
  $("log-line").addEventListener("click", (event) => {
    const act = event.target.closest("[data-line]")?.dataset.line;
    if (act === "copy") copyLines(event.target);
    else if (act === "link") copyText(new URL(address(), location.href).href, event.target, "The link was copied.");
    else if (act === "context") {
      // The browser's Back leads to the lines that matched again.
      const at = picked.first;
      history.replaceState(null, "", address());
      history.pushState(null, "", `${log.dataset.url}?at=${at}#o${at}`);
      clearFilter({ at: String(at) }, true);
    }
    else if (act === "close") {
      pick(null);
      history.replaceState(null, "", `${log.dataset.url}${edge.query ? `?${edge.query}` : ""}`);
      log.focus();
    }
  });
}

// With the log in focus: Enter picks the first line in sight; then the arrow keys move on, with Shift they take more.
function pickByKey(event) {
  if (event.target !== log || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape" && picked.first !== null && !panel.classList.contains("is-full")) pick(null);
  else if (event.key === "Enter" && picked.first === null) pick(lineAt(log.getBoundingClientRect().top + 4) ?? log.querySelector(".l"));
  else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && picked.first !== null) {
    const isDown = event.key === "ArrowDown";
    let line = byId(picked.focus);
    do line = line && (isDown ? after(line) : before(line));
    while (line && (!line.id || line.hidden));
    if (!line?.id) return;
    const from = event.shiftKey ? byId(picked.origin) : line;
    pick(from, event.shiftKey ? line : null);
    Object.assign(picked, { origin: offsetOf(from), focus: offsetOf(line) });
    line.scrollIntoView({ block: "nearest" });
  } else return;
  event.preventDefault();
}

const byId = (offset) => $(`o${offset}`);

function pick(line, to = null) {
  for (const old of log.querySelectorAll(".picked")) old.classList.remove("picked");
  $("log-line").hidden = !line;
  fit();
  picked.first = picked.last = picked.origin = picked.focus = line ? offsetOf(line) : null;
  if (!line) return;
  if (line !== to && follow.checked) setFollow(false);
  if (to) {
    const [a, b] = [offsetOf(line), offsetOf(to)].sort((left, right) => left - right);
    Object.assign(picked, { first: a, last: b });
  }
  const all = pickedLines();
  for (const each of all) each.classList.add("picked");
  const [first, last] = [numberOf(all[0]), numberOf(all.at(-1))];
  const when = all[0]?.children[1].dateTime ?? "";
  const day = when && choices.times !== "utc" ? new Date(when).toLocaleDateString() : when.slice(0, 10);
  $("log-line-name").textContent = first === last ? `Line ${number.format(first)}, ${day} ${clock(when)}` : `Lines ${number.format(first)}–${number.format(last)}`;
  $("log-line").querySelector('[data-line="context"]').hidden = edge.query === "";
}

function pickedLines() {
  const found = [];
  let line = byId(picked.first);
  while (line && found.length < MOST) {
    if (line.id) found.push(line);
    if (line.id && offsetOf(line) >= picked.last) break;
    line = after(line);
  }
  return found;
}

function address() {
  const { first, last } = picked;
  const params = new URLSearchParams(edge.query);
  params.set("at", first);
  return `${log.dataset.url}?${params}#o${first}${last === first ? "" : `-o${last}`}`;
}

function copyLines(beside) {
  const all = pickedLines();
  const text = all.map((line) => line.lastElementChild.textContent).join("\n");
  copyText(text, beside, all.length === 1 ? "The line was copied." : `${number.format(all.length)} lines were copied.`);
}

async function copyText(text, beside, said) {
  if (await copy(text, beside.closest("div") ?? document.body)) toast(said);
  else toast("This browser does not let the page copy; select it and copy it yourself.", { kind: "bad" });
}

// --- downloads ---

function downloading() {
  for (const name of ["with-times", "with-colours", "times"]) $(`log-${name}`).addEventListener("change", downloads);
  $("log-curl").addEventListener("click", (event) => {
    const url = new URL(log.dataset.api, location.href).href;
    copyText(`curl -H "Authorization: Bearer $PROCDECK_TOKEN" '${url}'`, event.target, "The command was copied.");
  });
  downloads();
}

function downloads() {
  for (const link of panel.querySelectorAll("[data-download]")) {
    const isView = link.dataset.download === "view";
    const params = new URLSearchParams(isView ? edge.query : "");
    if (choices["with-times"] && choices.times !== "none") {
      params.set("times", choices.times === "since" ? "since" : "clock");
      for (const [name, value] of Object.entries(zone())) params.set(name, value);
    }
    if (choices["with-colours"]) params.set("colours", "1");
    link.href = `${log.dataset.url}/log/download?${params}`;
    if (isView) link.hidden = edge.query === "";
  }
}

if (log) begin();
