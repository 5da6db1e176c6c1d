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

/** The same words as app/pages/words.py has for what is over. */
export function duration(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.floor(seconds))} s`;
  const whole = Math.floor(seconds);
  const [days, hours, minutes, left] = [whole / 86400, (whole / 3600) % 24, (whole / 60) % 60, whole % 60].map(Math.floor);
  if (days) return `${days} d ${pad(hours)}:${pad(minutes)}`;
  return hours ? `${hours}:${pad(minutes)}:${pad(left)}` : `${minutes}:${pad(left)}`;
}

function ago(moment) {
  const seconds = (now() - moment) / 1000;
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  const at = new Date(moment);
  return `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())} ${pad(at.getHours())}:${pad(at.getMinutes())}`;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Bring all times of the page up to now; those of log lines stay as they are. */
export function tick() {
  for (const element of document.querySelectorAll("time[title]")) {
    const moment = Date.parse(element.dateTime);
    setText(element, ago(moment));
    if (!element.dataset.uiLocal) {
      element.dataset.uiLocal = "1";
      element.title = `${new Date(moment).toLocaleString()} (${element.title})`;
    }
  }
  for (const element of document.querySelectorAll("[data-since]")) {
    setText(element, duration((now() - Date.parse(element.dataset.since)) / 1000));
  }
}

export function start() {
  tick();
  setInterval(() => document.hidden || tick(), 1000);
}
