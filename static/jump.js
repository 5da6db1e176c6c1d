// The jump menu: a field over the page, and what fits what is typed into it. The service finds and sorts; here is only how
// one moves in the list. The focus stays in the field.

const AFTER = 80;

const dialog = document.getElementById("jump");
const field = document.getElementById("jump-q");
const list = document.getElementById("jump-items");
const said = document.getElementById("jump-said");

let active = null;
let timer = 0;
let asking = null;
/** Enter was pressed before the answer to what was typed had come. */
let isAwaited = false;

export function start() {
  if (!dialog) return;
  document.getElementById("jump-open")?.addEventListener("click", (event) => {
    event.preventDefault();
    open();
  });
  document.getElementById("jump-close").addEventListener("click", () => dialog.close());
  field.form.addEventListener("submit", (event) => event.preventDefault());
  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(find, AFTER);
  });
  field.addEventListener("keydown", pressed);
  // The dialog itself is what is pressed beside its content.
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("submit", () => dialog.close());
  list.addEventListener("pointermove", (event) => activate(event.target.closest("[role=option]"), false));
  // A press on a line must not take the focus before the click arrives.
  list.addEventListener("pointerdown", (event) => event.preventDefault());
}

/** Open the menu; on a page that has none, go to the page of it. */
export function open() {
  if (!dialog?.showModal) {
    location.assign(`/jump?at=${encodeURIComponent(location.pathname)}`);
    return;
  }
  if (dialog.open) return;
  dialog.showModal();
  field.focus();
  field.select();
  find();
}

async function find() {
  clearTimeout(timer);
  timer = 0;
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking;
  try {
    const asked = new URLSearchParams({ q: field.value.trim(), at: location.pathname + location.search });
    const answer = await fetch(`/jump?${asked}`, { headers: { "X-Live": "jump", Accept: "text/html" }, signal });
    if (!answer.ok || answer.redirected) throw new Error(String(answer.status));
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!signal.aborted) show([...fresh.body.children]);
  } catch (error) {
    if (error.name === "AbortError") return;
    show([]);
    said.textContent = "The service did not answer.";
  }
}

function show(items) {
  asking = null;
  list.replaceChildren(...items);
  const options = all();
  field.setAttribute("aria-expanded", String(options.length > 0));
  said.textContent = options.length ? "" : "Nothing fits.";
  activate(options[0] ?? null);
  if (isAwaited) choose();
}

const all = () => [...list.querySelectorAll("[role=option]")];

function activate(option, isSeen = true) {
  if (option === active && option?.isConnected) return;
  if (!option && list.childElementCount) return;
  active?.setAttribute("aria-selected", "false");
  active = option;
  active?.setAttribute("aria-selected", "true");
  if (active) field.setAttribute("aria-activedescendant", active.id);
  else field.removeAttribute("aria-activedescendant");
  if (isSeen) active?.scrollIntoView({ block: "nearest" });
}

function pressed(event) {
  if (event.isComposing) return;
  const options = all();
  const now = options.indexOf(active);
  const steps = { ArrowDown: now + 1, ArrowUp: now - 1 + options.length, PageDown: Math.min(now + 5, options.length - 1), PageUp: Math.max(now - 5, 0) };
  if (event.key in steps && options.length) {
    event.preventDefault();
    activate(options[steps[event.key] % options.length]);
  } else if (event.key === "Enter") {
    event.preventDefault();
    isAwaited = true;
    if (timer) find();
    else if (!asking) choose();
  } else if (event.key === "Escape") {
    // A search field would only be emptied by the first one.
    event.preventDefault();
    dialog.close();
  } else {
    isAwaited = false;
  }
}

function choose() {
  isAwaited = false;
  active?.click();
}
