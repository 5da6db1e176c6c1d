// Times relative to now and durations that go on, once a second and without asking the server.

let ahead = 0;

/** What the server's clock says just now: the browser's may be minutes off, and may be set meanwhile. */
export function setNow(text) {
  const serverTime = Date.parse(text ?? "");
  if (!Number.isNaN(serverTime)) ahead = serverTime - Date.now();
}

setNow(document.querySelector('meta[name="server-time"]')?.content);

/** Milliseconds of the server's clock. */
export const now = () => Date.now() + ahead;

const pad = (number) => String(number).padStart(2, "0");

/** The same words as app/units.py has for what is over. */
export function duration(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.floor(seconds))} s`;
  const whole = Math.floor(seconds);
  const [days, hours, minutes, left] = [whole / 86400, (whole / 3600) % 24, (whole / 60) % 60, whole % 60].map(Math.floor);
  if (days) return `${days} d ${pad(hours)}:${pad(minutes)}`;
  return hours ? `${hours}:${pad(minutes)}:${pad(left)}` : `${minutes}:${pad(left)}`;
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** Short enough for a column; the title of the element has the whole. */
function ago(moment) {
  const seconds = (known() - moment) / 1000;
  // Clocks differ a little: what is only just ahead of ours is now.
  if (seconds < -5) return until(moment, -seconds);
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return date(moment);
}

function until(moment, seconds) {
  if (seconds < 60) return `in ${Math.ceil(seconds)} s`;
  if (seconds < 3600) return `in ${Math.round(seconds / 60)} min`;
  return seconds < 86400 ? `in ${Math.round(seconds / 3600)} h` : date(moment);
}

/** `Nov 17 19:22`, or with the year when that is another: `Nov 17, 2025`. */
function date(moment) {
  const at = new Date(moment);
  const day = `${MONTHS[at.getMonth()]} ${at.getDate()}`;
  if (at.getFullYear() !== new Date(now()).getFullYear()) return `${day}, ${at.getFullYear()}`;
  return `${day} ${pad(at.getHours())}:${pad(at.getMinutes())}`;
}

/** `14:02:11` in the zone of the browser: of 24 hours, whatever its language. */
export function clock(moment) {
  const at = new Date(moment);
  return [at.getHours(), at.getMinutes(), at.getSeconds()].map(pad).join(":");
}

/** `2026-11-22 14:02:11` in the zone of the browser. */
export function exact(moment) {
  const at = new Date(moment);
  return `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())} ${clock(moment)}`;
}

/** `14:02` of today, the day as well of before. */
function minute(moment) {
  const isToday = exact(moment).slice(0, 10) === exact(now()).slice(0, 10);
  return isToday ? clock(moment).slice(0, 5) : date(moment);
}

/** What `data-as` of a time may say; any other is told as so long ago. */
const AS = { clock, date: exact, minute };

let heldAt = 0;

/** What goes on stands still, as at this moment: nobody tells the page whether it still does. */
export function hold(isHeld) {
  heldAt = isHeld ? now() : 0;
}

/** Milliseconds up to which what goes on is known to go on. */
export const known = () => heldAt || now();

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Bring all times of the page up to now; those of log lines stay as they are. */
export function tick() {
  for (const element of document.querySelectorAll("time[title]")) {
    const moment = Date.parse(element.dateTime);
    const as = AS[element.dataset.as];
    if (!as) setText(element, ago(moment));
    if (!element.dataset.uiLocal) {
      element.dataset.uiLocal = "1";
      if (as) setText(element, as(moment));
      element.title = `${exact(moment)} (${element.title})`;
    }
  }
  for (const element of document.querySelectorAll("[data-since]")) {
    setText(element, duration((known() - Date.parse(element.dataset.since)) / 1000));
  }
}

export function start() {
  tick();
  setInterval(() => document.hidden || tick(), 1000);
}
