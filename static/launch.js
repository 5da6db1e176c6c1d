// The launch form: typing into a value chooses it, and the call beside the form is the server's own reading of it.
// Buttons that change the form (a row more, JSON instead) are the server's too; here they don't load the page anew.

const form = document.getElementById("launch-form");
const QUIET = 300;
/** Milliseconds after which a form that was sent, and is still there, can be sent again. */
const STAYED_AFTER = 5000;

let timer = 0;
let asked = 0;
let sent = false;

form.addEventListener("input", (event) => {
  const name = event.target.name ?? "";
  if (name.startsWith("arg-") || name.startsWith("zone-")) choose(name.slice(name.indexOf("-") + 1), "value");
  preview();
});

form.addEventListener("change", (event) => {
  const { name, value } = event.target;
  if (name?.startsWith("use-") && value === "value") begin(name.slice(4));
  preview();
});

// A text beside a chosen default stays in sight, but is not sent: the server would ask which of the two is meant.
form.addEventListener("formdata", ({ formData }) => {
  for (const [name, use] of [...formData.entries()]) {
    if (name.startsWith("use-") && use !== "value") formData.delete(`arg-${name.slice(4)}`);
  }
});

form.addEventListener("submit", (event) => {
  if (sent) return event.preventDefault();
  sent = true;
  // Whoever stops the loading stays on the page. The key of the form makes one process of two that are sent.
  setTimeout(stayed, STAYED_AFTER);
});
addEventListener("pageshow", stayed);

function stayed() {
  sent = false;
}

// --- leaving: asked about only when something would be lost ---

const begun = written();

addEventListener("beforeunload", (event) => {
  if (!sent && ("edited" in form.dataset || written() !== begun)) event.preventDefault();
});

/** All that is typed, to be compared. */
function written() {
  return JSON.stringify([...new FormData(form)].filter(([name]) => name !== "preset_name"));
}

// --- what is chosen ---

function choose(name, use) {
  // Inside of an object: it is a value as well.
  for (let path = name; path; path = path.slice(0, Math.max(0, path.lastIndexOf(".")))) {
    for (const radio of form.querySelectorAll(`input[type="radio"][name="${CSS.escape(`use-${path}`)}"]`)) {
      if (radio.value === use) radio.checked = true;
    }
  }
}

/** An input that is empty begins with the default, to be changed. */
function begin(name) {
  const input = form.elements.namedItem(`arg-${name}`);
  const field = document.getElementById(`field-${name}`);
  if (!input) return field?.querySelector(".inside :is(input, select, textarea, button)")?.focus();
  if (input instanceof RadioNodeList) return;
  if (!input.value && field?.dataset.start) input.value = field.dataset.start;
  input.focus();
}

// --- the server's reading ---

function preview() {
  clearTimeout(timer);
  timer = setTimeout(async () => {
    const number = ++asked;
    const fresh = await ask("preview");
    if (fresh && number === asked) show(fresh);
  }, QUIET);
}

/** The form as the server gives it back for one of its buttons, or null. */
async function ask(action) {
  const body = new FormData(form);
  body.set("do", action);
  try {
    const answer = await fetch("/launch", { method: "POST", body, headers: { Accept: "text/html", "X-Live": "1" } });
    return answer.ok ? new DOMParser().parseFromString(await answer.text(), "text/html") : null;
  } catch {
    return null; // The call is a convenience; launching will say what is wrong.
  }
}

function show(fresh) {
  for (const pre of document.querySelectorAll("#preview pre")) {
    const text = fresh.getElementById(pre.id)?.textContent;
    if (text !== undefined && text !== pre.textContent) pre.textContent = text;
  }
  for (const field of form.querySelectorAll("#fields .field")) {
    // A warning of a path, which is no error: it may come to be.
    field.querySelector(":scope > .path-missing")?.remove();
    const warning = fresh.getElementById(field.id)?.querySelector(":scope > .path-missing");
    if (warning) field.append(warning);
  }
  const notes = document.getElementById("preview-notes");
  const said = fresh.getElementById("preview-notes");
  if (said && notes.textContent.trim() !== said.textContent.trim()) notes.replaceChildren(...said.childNodes);
}

// --- buttons that change the form ---

form.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-change]");
  if (!button) return;
  event.preventDefault();
  if (button.getAttribute("aria-busy")) return;
  button.setAttribute("aria-busy", "true");
  const fresh = await ask(button.value);
  const place = button.closest("#fields > .field") ?? button.closest(".panel");
  const now = fresh && place && fresh.getElementById(place.id);
  if (!now) {
    // The whole page will say why.
    button.removeAttribute("aria-busy");
    return form.requestSubmit(button);
  }
  place.replaceWith(now);
  focusAfter(button.value, now);
  show(fresh);
});

/** Where a keyboard goes on. */
function focusAfter(action, place) {
  const within = (name) => document.getElementById(`field-${name}`);
  const first = (root) => root?.querySelector("input:not([type=hidden]), select, textarea, button");
  let found = null;
  if (action.startsWith("add-row-")) {
    found = first([...(within(action.slice(8))?.querySelectorAll(":scope > .inside > .items > .item") ?? [])].at(-1));
  } else if (action.startsWith("remove-row-")) {
    const name = action.slice(11);
    found = first(within(name)) ?? within(name.slice(0, name.lastIndexOf(".")))?.querySelector(".add");
  } else if (action.startsWith("json-")) {
    found = within(action.slice(5))?.querySelector("textarea");
  } else if (action.startsWith("plain-")) {
    found = within(action.slice(6))?.querySelector(":is(input:not([type=hidden], [type=radio]), textarea, select, .add)");
  }
  (found ?? first(place))?.focus();
}
