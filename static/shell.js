// What the frame of every page does: colours without a reload, menus that close, buttons that copy.

const root = document.documentElement;
root.classList.add("has-script");

// --- colours: the form works without us; with us nothing typed on the page is lost ---

document.addEventListener("submit", async (event) => {
  const form = event.target;
  const theme = event.submitter?.value;
  if (!("themeSwitch" in form.dataset) || !theme) return;
  event.preventDefault();
  wear(theme);
  try {
    const body = new URLSearchParams({ theme });
    const answer = await fetch(form.action, { method: "POST", headers: { "X-Live": "1" }, body });
    if (!answer.ok) throw new Error(String(answer.status));
  } catch {
    // Not remembered; this page has it all the same.
  }
});

function wear(theme) {
  if (theme === "auto") delete root.dataset.theme;
  else root.dataset.theme = theme;
  document.querySelector("meta[name=color-scheme]").content = theme === "auto" ? "light dark" : theme;
  for (const button of document.querySelectorAll("[data-theme-switch] button")) {
    button.setAttribute("aria-pressed", String(button.value === theme));
  }
  document.dispatchEvent(new CustomEvent("themed"));
}

// --- menus: closed by a click beside them, by Escape (back to their button), and when the focus goes elsewhere ---

const open = () => document.querySelectorAll("details.menu[open]");

document.addEventListener("click", (event) => {
  for (const menu of open()) if (!menu.contains(event.target)) menu.open = false;
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of open()) {
    const hadFocus = menu.contains(document.activeElement);
    menu.open = false;
    if (hadFocus) menu.querySelector("summary").focus();
  }
});

document.addEventListener("focusin", (event) => {
  for (const menu of open()) if (!menu.contains(event.target)) menu.open = false;
});

// --- copying: data-copy is the text, data-copy-from the id of what has it ---

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy], [data-copy-from]");
  if (!button) return;
  const from = document.getElementById(button.dataset.copyFrom);
  const text = from ? (from.value ?? from.textContent) : button.dataset.copy;
  say(button, (await copy(text, button)) ? "Copied" : "Could not copy");
});

// In place of the word of the button and of its name, for a moment; its picture stays.
function say(button, answer) {
  if (button.dataset.saying) return;
  const word = [...button.childNodes].findLast((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
  const before = word?.data;
  const name = button.getAttribute("aria-label");
  button.dataset.saying = answer;
  if (word) word.data = ` ${answer}`;
  if (name) button.setAttribute("aria-label", answer);
  setTimeout(() => {
    delete button.dataset.saying;
    if (word) word.data = before;
    if (name) button.setAttribute("aria-label", name);
  }, 2000);
}

/** Put a text on the clipboard; whether that worked. The clipboard's own interface exists on HTTPS and localhost only. */
export async function copy(text, beside = document.body) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text, beside.closest("dialog") ?? document.body);
  }
}

// Inside an open dialog nothing outside of it can be selected.
function copyBySelection(text, place) {
  const field = document.createElement("textarea");
  const focused = document.activeElement;
  field.className = "hidden";
  field.value = text;
  place.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  focused?.focus();
  return done;
}
