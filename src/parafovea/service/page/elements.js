// Elements of the page; texts are never read as HTML.

/**
 * Return an element.
 *
 * @param {string} name
 * @param {Record<string, unknown>} attributes `onclick` and the like are listeners; null, undefined
 *   and false leave an attribute out
 * @param {...(Node | string)} children
 */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

export const byId = (id) => document.getElementById(id);

/** Say something to those who use a screen reader. */
export function announce(text) {
  byId("announcer").textContent = text;
}

/** Return a list of facts, as pairs of words. */
export function facts(pairs) {
  return element("dl", { class: "facts" }, ...pairs.map(([term, value]) => element("div", {}, element("dt", {}, term), element("dd", {}, value))));
}

/** Return bytes as words. */
export function size(bytes) {
  let value = bytes;
  for (const unit of ["B", "kB", "MB"]) {
    if (value < 1000) return `${unit === "B" ? value : value.toPrecision(3)} ${unit}`;
    value /= 1000;
  }
  return `${value.toPrecision(3)} GB`;
}
