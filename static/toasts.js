// Notices in the corner: good ones go by themselves, bad ones stay until they are closed.

const region = document.getElementById("toasts");

/** Show a notice; `link` is {href, text}. The same text is not shown twice at a time. */
export function toast(text, { kind = "good", link = null } = {}) {
  for (const shown of region.children) if (shown.dataset.text === text) shown.remove();
  const element = document.createElement("p");
  element.className = `toast is-${kind}`;
  element.dataset.text = text;
  element.append(text);
  if (link) {
    const anchor = document.createElement("a");
    anchor.href = link.href;
    anchor.textContent = link.text;
    element.append(" ", anchor);
  }
  region.append(element);
  settle(element, kind);
  return element;
}

function settle(element, kind) {
  const close = document.createElement("button");
  close.type = "button";
  close.setAttribute("aria-label", "Close");
  close.textContent = "×";
  close.addEventListener("click", () => element.remove());
  element.prepend(close);
  if (kind === "good") setTimeout(() => element.matches(":hover, :focus-within") || element.remove(), 8000);
}

/** Give the notices that came with the page a way to be closed. */
export function adopt() {
  for (const element of [...region.children]) settle(element, element.classList.contains("is-bad") ? "bad" : "good");
}
