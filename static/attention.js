// What a page that nobody looks at has to tell: failures since it was last looked at, in its title and its icon. All of
// it is asked of the service; while the page is hidden that is all it asks.

const EVERY = 30_000;
const NOT_MORE_THAN_EVERY = 1000;

const icon = document.querySelector("link[rel=icon]");
const usual = icon?.href;
const alarmed = new URL("./favicon-failed.svg", import.meta.url).href;

let ask = () => null;
let timer = 0;
let asked = 0;
let counted = null;
let failures = 0;

/** `asking` resolves to {run, failed, version}, or to null when nobody answers. */
export function start(asking) {
  ask = asking;
  document.addEventListener("visibilitychange", () => (document.hidden ? look() : forget()));
  if (document.hidden) look();
}

/** Something changed: count again soon. */
export function hint() {
  if (!document.hidden) return;
  clearTimeout(timer);
  timer = setTimeout(look, Math.max(0, asked + NOT_MORE_THAN_EVERY - performance.now()));
}

async function look() {
  clearTimeout(timer);
  timer = setTimeout(look, EVERY);
  asked = performance.now();
  const now = await ask();
  if (!now || !document.hidden) return;
  if (counted) {
    // One that was started since has counted from nothing.
    failures += Math.max(0, now.failed - (counted.run === now.run ? counted.failed : 0));
  }
  counted = now;
  show();
}

function forget() {
  clearTimeout(timer);
  counted = null;
  failures = 0;
  show();
}

function show() {
  const plain = document.title.replace(/^\(\d+ failed\) /, "");
  const title = failures ? `(${failures} failed) ${plain}` : plain;
  if (document.title !== title) document.title = title;
  const wanted = failures ? alarmed : usual;
  if (icon && icon.href !== wanted) icon.href = wanted;
}
