// Makes one element like another and keeps its nodes: focus, selection, scroll positions and open menus stay.
//
// What the reader did stays too: what was typed, ticked or chosen. So does what our script put on an element: attributes
// `open` and `data-ui-*`, and the text of times and durations as long as they mean the same. Classes and aria-* are the
// server's. An element with `data-ui-keep` is left alone.

const isOurs = (name) => name === "open" || name.startsWith("data-ui-");

export function morph(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
    old.replaceWith(document.importNode(fresh, true));
  } else if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
  } else if (!("uiKeep" in old.dataset)) {
    if (isSameTime(old, fresh)) return;
    guard(old, fresh);
    const isEdited = wasEdited(old);
    attributes(old, fresh, isEdited);
    if (!isEdited) children(old, fresh);
  }
}

function isSameTime(old, fresh) {
  if (old.localName === "time") {
    if (old.dateTime === fresh.dateTime) return true;
    delete old.dataset.uiLocal;
    return false;
  }
  return "since" in old.dataset && old.dataset.since === fresh.dataset.since;
}

// A button must not turn into another one under the hand that is about to press it.
function guard(old, fresh) {
  if (!("guard" in old.dataset) || !old.matches(":hover, :focus-within")) return;
  const words = (element) => [...element.querySelectorAll("button:not(:disabled)")].map((button) => button.textContent.trim()).join();
  if (words(old) !== words(fresh)) old.dataset.uiGuardedUntil = String(performance.now() + 700);
}

/** Whether the reader changed a field, or is in it. */
export function wasEdited(field) {
  if (!field.matches("input:not([type=hidden]), textarea, select")) return false;
  if (field.matches("[type=checkbox], [type=radio]")) return field.checked !== field.defaultChecked;
  if (field === document.activeElement) return true;
  if (field.localName === "select") {
    const options = [...field.options];
    const chosen = options.some((option) => option.defaultSelected);
    return options.some((option, at) => option.selected !== (chosen || field.multiple ? option.defaultSelected : at === 0));
  }
  return field.value !== field.defaultValue;
}

function attributes(old, fresh, isEdited) {
  const isKept = (name) => isOurs(name) || (isEdited && (name === "checked" || name === "value"));
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !isKept(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value && !isKept(name)) old.setAttribute(name, value);
  }
}

function children(old, fresh) {
  const kept = new Set([...fresh.children].map((child) => child.id).filter(Boolean));
  for (const child of [...old.children]) if (child.id && !kept.has(child.id)) child.remove();
  const byId = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
  let at = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const match = child.id ? byId.get(child.id) : at && !at.id && isAlike(at, child) ? at : null;
    if (!match) {
      old.insertBefore(document.importNode(child, true), at);
      continue;
    }
    if (match === at) at = at.nextSibling;
    else move(old, match, at);
    morph(match, child);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

const isAlike = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName;

// Where a browser can, focus and open menus survive the move as well.
function move(parent, node, before) {
  if ("moveBefore" in parent) parent.moveBefore(node, before);
  else parent.insertBefore(node, before);
}
