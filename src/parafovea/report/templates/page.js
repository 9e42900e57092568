"use strict";
(() => {
  const KEY = "parafovea-scheme";
  const DARK = "(prefers-color-scheme: dark)";
  const system = matchMedia(DARK);
  const rule = [...document.styleSheets]
    .flatMap((sheet) => [...sheet.cssRules])
    .find((each) => each.media && each.media.mediaText.includes(DARK));
  const media = rule.media.mediaText;
  // some viewers allow a page to store nothing
  const memory = (() => { try { return localStorage; } catch { return null; } })();
  let chosen = memory && memory.getItem(KEY);
  let button = null;

  const isDark = () => (chosen ? chosen === "dark" : system.matches);

  function paint() {
    rule.media.mediaText = chosen ? (isDark() ? "screen" : "not all") : media;
    if (button) {
      button.textContent = isDark() ? "Light" : "Dark";
      button.title = `Change to ${isDark() ? "light" : "dark"} colours`;
    }
    document.dispatchEvent(new Event("schemechange"));
  }

  function change() {
    const wanted = isDark() ? "light" : "dark";
    chosen = (wanted === "dark") === system.matches ? null : wanted;
    if (memory && chosen) memory.setItem(KEY, chosen);
    if (memory && !chosen) memory.removeItem(KEY);
    paint();
  }

  function number(cell) {
    if (!cell || cell.colSpan > 1) return NaN;
    if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
    const found = cell.textContent.replaceAll(",", "").replaceAll("\u2212", "-").match(/-?\d+(\.\d+)?/);
    return found ? Number(found[0]) : NaN;
  }

  function sort(head) {
    const rising = head.getAttribute("aria-sort") !== "ascending";
    const column = head.cellIndex;
    const body = head.closest("table").tBodies[0];
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const sign = rising ? 1 : -1;
    const rows = [...body.rows];
    const numbers = new Map(rows.map((row) => [row, number(row.cells[column])]));
    const text = (row) => (row.cells[column] ? row.cells[column].textContent.trim() : "");
    const numeric = head.matches(".number, [data-sort=number]")
      && [...numbers.values()].some((value) => !Number.isNaN(value));
    rows.sort((first, second) => {
      if (!numeric) return sign * text(first).localeCompare(text(second), undefined, { numeric: true });
      const [a, b] = [numbers.get(first), numbers.get(second)];
      // rows without a value come last in both orders
      if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
      return sign * (a - b);
    });
    body.append(...rows);
  }

  // A heading becomes a button, so that the keyboard reaches it.
  function makeSortable(table) {
    for (const head of table.tHead ? table.tHead.rows[0].cells : []) {
      if (!head.textContent.trim()) continue;
      const own = document.createElement("button");
      own.type = "button";
      own.append(...head.childNodes);
      head.append(own);
      own.addEventListener("click", () => sort(head));
    }
  }

  // In a page inside another one, a browser takes "#name" for a place in the outer page.
  if (location.href === "about:srcdoc") {
    document.addEventListener("click", (event) => {
      const link = event.target.closest("a[href^='#']");
      if (!link) return;
      event.preventDefault();
      document.getElementById(link.getAttribute("href").slice(1)).scrollIntoView();
    });
  }
  paint();
  system.addEventListener("change", paint);
  addEventListener("storage", (event) => {
    if (event.key !== KEY && event.key !== null) return;
    chosen = memory.getItem(KEY);
    paint();
  });
  document.addEventListener("DOMContentLoaded", () => {
    button = document.createElement("button");
    button.type = "button";
    button.id = "scheme";
    button.addEventListener("click", change);
    document.querySelector("header nav").append(button);
    paint();
    for (const table of document.querySelectorAll("table")) {
      if (table.tBodies.length && table.tBodies[0].rows.length > 1) makeSortable(table);
    }
  });
})();
