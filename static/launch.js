// The launch form: typing into a value chooses it, and the call beside the form is the server's own reading of it.

const form = document.getElementById("launch-form");
const QUIET = 300;

let timer = 0;
let asked = 0;

form.addEventListener("input", (event) => {
  const name = event.target.name ?? "";
  if (name.startsWith("arg-")) choose(name.slice(4), "value");
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

let sent = false;
form.addEventListener("submit", (event) => {
  if (sent) event.preventDefault();
  sent = true;
});
addEventListener("pageshow", () => {
  sent = false;
});

function choose(name, use) {
  for (const radio of form.querySelectorAll(`input[type="radio"][name="${CSS.escape(`use-${name}`)}"]`)) {
    if (radio.value === use) radio.checked = true;
  }
}

/** An input that is empty begins with the default, to be changed. */
function begin(name) {
  const input = form.elements.namedItem(`arg-${name}`);
  const start = document.getElementById(`field-${name}`)?.dataset.start;
  if (input instanceof RadioNodeList || !input) return;
  if (!input.value && start) input.value = start;
  input.focus();
}

function preview() {
  clearTimeout(timer);
  timer = setTimeout(ask, QUIET);
}

async function ask() {
  const number = ++asked;
  const body = new FormData(form);
  body.set("do", "preview");
  try {
    const answer = await fetch("/launch", { method: "POST", body, headers: { Accept: "text/html", "X-Live": "1" } });
    if (!answer.ok || number !== asked) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("preview");
    if (fresh) document.getElementById("preview").replaceChildren(...fresh.childNodes);
  } catch {
    // The call is a convenience; launching will say what is wrong.
  }
}
