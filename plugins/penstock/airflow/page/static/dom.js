// Elements made of data. What is shown becomes text nodes and attributes, never markup, so that nothing of it can run.

const SVG = "http://www.w3.org/2000/svg";

/** An element: h("p", {class: "note"}, "text", child, ...). Attributes that are null or false are left out. */
export function h(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** As `h`, within a drawing. */
export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((each) => each !== null && each !== undefined && each !== false));
  return made;
}

/** Make `old` look like `fresh` and keep what is the same, so that focus, selection and scroll positions stay. */
export function patch(old, fresh) {
  if (!alike(old, fresh)) return old.replaceWith(fresh);
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return undefined;
  }
  patchAttributes(old, fresh);
  return patchChildren(old, [...fresh.childNodes]);
}

/** As `patch`, for all that is in `parent`. Children with a data-key are known by it, the others by their place. */
export function patchChildren(parent, fresh) {
  const keyed = new Map([...parent.childNodes].filter(keyOf).map((each) => [keyOf(each), each]));
  let place = parent.firstChild;
  for (const child of fresh) {
    const known = keyOf(child) ? keyed.get(keyOf(child)) : place && !keyOf(place) ? place : null;
    if (!known || !alike(known, child)) {
      parent.insertBefore(child, place);
      continue;
    }
    if (known !== place) parent.insertBefore(known, place);
    else place = place.nextSibling;
    patch(known, child);
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

function alike(one, other) {
  return one.nodeName === other.nodeName && keyOf(one) === keyOf(other);
}

function keyOf(node) {
  return node.dataset?.key;
}

function patchAttributes(old, fresh) {
  for (const { name } of [...old.attributes]) {
    // Whether a person has opened it is not ours to say.
    if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
}
