// The log as it is written. Lines are text nodes, in chunks that the browser need not lay out while they are out of sight.

import { Stream } from "./stream.js";

const CHUNK = 500;
const MOST = 20_000;
const FLUSH_EVERY = 100;
/** Bytes of the log that the page may be behind; of a process that writes faster than a page can show, only the newest is. */
const MAX_LAG = 1_000_000;
/** Characters of a line that are shown, and those that are looked at for them: the same as in app/pages/words.py. */
const LONGEST = 20_000;
const LONGEST_RAW = 4 * LONGEST;

const log = document.getElementById("log");
const state = document.getElementById("log-state");
const empty = document.getElementById("log-empty");
const more = document.getElementById("log-more");
const follow = document.getElementById("log-follow");

let after = log.dataset.after;
let count = log.querySelectorAll(".line").length;
let unseen = 0;
let buffer = [];
let timer = 0;
/** The line of each stream whose end has not come, with its text as it was written. */
const unfinished = {};

for (const line of log.querySelectorAll(".line[data-open]")) {
  unfinished[streamOf(line)] = { text: line.lastElementChild, raw: line.lastElementChild.textContent };
}

let stream = null;

// Before its launch a process has no log: the stream of one that was only created would end at once.
function begin() {
  if (stream || !("launched" in document.getElementById("about").dataset)) return;
  if (!count) empty.textContent = "Nothing was written so far.";
  stream = new Stream(() => `${log.dataset.stream}?after=${after}&max_lag=${MAX_LAG}`, { lines: received, gap, skip, end: ended }, told);
}

function told(now, { seconds }) {
  const words = { live: "following", reconnecting: `reconnecting in ${seconds} s`, paused: "paused", "signed-out": "signed out" };
  state.textContent = words[now];
}

document.addEventListener("updated", begin);

function received(records, event) {
  after = event.lastEventId;
  buffer.push(...records);
  // What would be dropped again at once is not made.
  if (buffer.length > MOST) buffer.splice(0, buffer.length - MOST);
  timer ||= setTimeout(flush, FLUSH_EVERY);
}

function gap({ from, to }) {
  remark(`${to - from} bytes were removed: the log is at its limit`);
}

function skip({ from, to }) {
  remark(`${to - from} bytes are not shown: they came faster than this page could follow; the download has them`);
}

function remark(text) {
  buffer.push({ stream: "gap", time: "", text, partial: false });
  timer ||= setTimeout(flush, FLUSH_EVERY);
}

function ended() {
  flush();
  stream.end();
  state.textContent = "complete";
  if (!count) empty.textContent = "trimmed" in log.dataset ? "Nothing of its output is left." : "It wrote nothing.";
}

function flush() {
  clearTimeout(timer);
  timer = 0;
  const records = buffer;
  buffer = [];
  if (!records.length) return;
  const before = count;
  for (const record of records) append(record);
  empty.hidden = count > 0;
  trim();
  if (follow.checked) toEnd();
  else unseenGrew(count - before);
}

function append(record) {
  const open = unfinished[record.stream];
  if (open) {
    open.raw = kept(open.raw + record.text);
    open.text.textContent = shown(open.raw);
  } else {
    addLine(record);
  }
  if (!record.partial) delete unfinished[record.stream];
}

function addLine(record) {
  const line = document.createElement("div");
  line.className = `line ${record.stream}`;
  const time = document.createElement("time");
  time.dateTime = record.time;
  time.textContent = record.time.slice(11, 23);
  const text = document.createElement("span");
  text.className = "text";
  text.textContent = shown(kept(record.text));
  line.append(time, text);
  chunk().append(line);
  count += 1;
  unfinished[record.stream] = { text, raw: kept(record.text) };
}

function chunk() {
  const last = log.lastElementChild;
  if (last && last.childElementCount < CHUNK) return last;
  const added = document.createElement("div");
  added.className = "chunk";
  log.append(added);
  return added;
}

function trim() {
  while (count > MOST && log.childElementCount > 1) {
    const first = log.firstElementChild;
    const height = first.getBoundingClientRect().height;
    count -= first.childElementCount;
    first.remove();
    if (!follow.checked) log.scrollTop -= height;
  }
}

// As a terminal leaves it: the same as app/pages/words.py does.
const ESCAPES = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])/g;
const CONTROLS = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/g;

function shown(raw) {
  const text = lastPart(raw.slice(0, LONGEST_RAW).replace(ESCAPES, "")).replace(CONTROLS, "\ufffd");
  const isCut = raw.length > LONGEST_RAW || text.length > LONGEST;
  return isCut ? `${text.slice(0, LONGEST)} … (the download has the whole line)` : text;
}

// Of a line too long to be shown as a whole there is no need to keep more; but what a \r took back goes first.
function kept(raw) {
  return raw.length > LONGEST_RAW ? lastPart(raw).slice(0, LONGEST_RAW + 1) : raw;
}

function lastPart(text) {
  let end = text.length;
  while (text[end - 1] === "\r") end -= 1;
  return text.slice(end && text.lastIndexOf("\r", end - 1) + 1, end);
}

function streamOf(line) {
  return line.classList.contains("stderr") ? "stderr" : "stdout";
}

// --- following ---

// Chunks get their true height as they come into sight, and the end moves with it.
function toEnd(frames = 10) {
  log.scrollTop = log.scrollHeight;
  unseen = 0;
  more.hidden = true;
  if (frames) requestAnimationFrame(() => follow.checked && !isAtEnd() && toEnd(frames - 1));
}

function unseenGrew(added) {
  unseen += added;
  more.hidden = unseen === 0;
  more.textContent = `${unseen} new line${unseen === 1 ? "" : "s"} ↓`;
}

function isAtEnd() {
  return log.scrollHeight - log.scrollTop - log.clientHeight < 24;
}

// Only the reader's own scrolling switches: lines that grow, and a window that changes, move the end away as well.
let touched = -Infinity;
let lastTop = 0;
for (const input of ["wheel", "touchmove", "keydown", "pointerdown"]) {
  log.addEventListener(input, () => (touched = performance.now()), { passive: true });
}
log.addEventListener("pointermove", (event) => event.buttons && (touched = performance.now()), { passive: true });
log.addEventListener("scroll", () => {
  const isUp = log.scrollTop < lastTop - 2;
  lastTop = log.scrollTop;
  if (performance.now() - touched > 1000) return;
  if (isAtEnd()) {
    follow.checked = true;
    unseen = 0;
    more.hidden = true;
  } else if (isUp) {
    follow.checked = false;
  }
});
new ResizeObserver(() => follow.checked && toEnd()).observe(log);
follow.addEventListener("change", () => follow.checked && toEnd());
more.addEventListener("click", () => {
  follow.checked = true;
  toEnd();
});

// --- how it looks, remembered ---

for (const name of ["wrap", "times"]) {
  const box = document.getElementById(`log-${name}`);
  box.checked = remembered(name) !== "off";
  const apply = () => log.classList.toggle(name, box.checked);
  apply();
  box.addEventListener("change", () => {
    apply();
    remember(name, box.checked ? "on" : "off");
  });
}

function remembered(name) {
  try {
    return localStorage.getItem(`log-${name}`);
  } catch {
    return null;
  }
}

function remember(name, value) {
  try {
    localStorage.setItem(`log-${name}`, value);
  } catch {
    // Private windows may refuse; then it is not remembered.
  }
}

toEnd();
begin();
