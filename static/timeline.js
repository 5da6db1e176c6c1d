// The chart in the time of the browser: an SVG has no <time>.

const clock = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const seconds = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const thisYear = new Intl.DateTimeFormat([], { day: "numeric", month: "short" });
const otherYear = new Intl.DateTimeFormat([], { day: "numeric", month: "short", year: "numeric" });
const day = {
  format: (at) => (at.getFullYear() === new Date().getFullYear() ? thisYear : otherYear).format(at),
};

const DAY = 86_400_000;

const dayOf = (at) => at.toDateString();
const place = (at, { begin, end }) => (100 * (at - Date.parse(begin))) / (Date.parse(end) - Date.parse(begin));

/** The even time of this zone that is nearest to one of UTC. */
function even(text, step) {
  const at = Date.parse(text);
  const ahead = (-new Date(at).getTimezoneOffset() * 60_000) % step;
  const off = ahead > step / 2 ? ahead - step : ahead < -step / 2 ? ahead + step : ahead;
  return new Date(at - off);
}

function words(at, step) {
  const isMidnight = at.getHours() === 0 && at.getMinutes() === 0 && at.getSeconds() === 0;
  if (isMidnight || step >= DAY) return day.format(at);
  return (step < 60_000 ? seconds : clock).format(at);
}

function range({ dataset }) {
  const from = new Date(dataset.from);
  const begin = `${day.format(from)} ${seconds.format(from)}`;
  if (dataset.moment !== undefined || dataset.from === dataset.to) return begin;
  if (!dataset.to) return `${begin} to now`;
  const to = new Date(dataset.to);
  return `${begin} to ${dayOf(from) === dayOf(to) ? "" : `${day.format(to)} `}${seconds.format(to)}`;
}

function moveTicks(chart) {
  const step = Number(chart.dataset.step) * 1000;
  for (const mark of chart.querySelectorAll("[data-at]")) {
    const at = even(mark.dataset.at, step);
    const x = place(at, chart.dataset);
    mark.classList.toggle("is-outside", x < 0 || x > 100);
    if (mark.matches("line")) {
      mark.setAttribute("x1", `${x}%`);
      mark.setAttribute("x2", `${x}%`);
    } else {
      mark.setAttribute("x", `${x}%`);
      mark.classList.toggle("at-begin", x < 3);
      mark.classList.toggle("at-end", x > 97);
      mark.textContent = words(at, step);
    }
  }
}

function localise() {
  for (const chart of document.querySelectorAll(".timeline")) moveTicks(chart);
  for (const bar of document.querySelectorAll(".timeline .span")) {
    const text = bar.dataset.text.replace("{when}", () => range(bar));
    bar.setAttribute("aria-label", text);
    bar.querySelector("title").textContent = text;
  }
  for (const told of document.querySelectorAll("[data-range]")) told.textContent = range(told);
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  for (const element of document.querySelectorAll("[data-zone]")) element.textContent = `Times are those of ${zone}.`;
}

localise();
document.addEventListener("updated", localise);
