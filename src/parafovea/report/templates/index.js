"use strict";
(() => {
  const form = document.getElementById("controls");
  const find = (id) => document.getElementById(id);
  const rows = [...document.querySelectorAll("table.index tbody tr")];
  const groups = [...document.querySelectorAll("section.group")];
  const texts = new Map(rows.map((row) => [row, `${row.textContent} ${row.dataset.task}`.toLowerCase()]));

  function filter() {
    const words = find("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = ["kind", "task", "state"].map((key) => [key, find(`by-${key}`).value]);
    let shown = 0;
    for (const row of rows) {
      const fits = wanted.every(([key, value]) => !value || row.dataset[key] === value);
      row.hidden = !(fits && words.every((word) => texts.get(row).includes(word)));
      shown += row.hidden ? 0 : 1;
    }
    for (const group of groups) {
      group.hidden = !group.querySelector("tbody tr:not([hidden])");
    }
    find("count").textContent =
      shown === rows.length ? "" : `${shown} of ${rows.length} samples`;
  }

  function key(row, column, numeric) {
    const cell = row.cells[column];
    if (!numeric) return cell.textContent;
    const value = cell && cell.dataset.value;
    return value === undefined ? NaN : Number(value);
  }

  function sort(head, column) {
    const rising = head.getAttribute("aria-sort") !== "ascending";
    const numeric = head.dataset.sort === "number";
    const body = head.closest("table").tBodies[0];
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const sign = rising ? 1 : -1;
    const keyed = [...body.rows].map((row) => [key(row, column, numeric), row]);
    keyed.sort(([a], [b]) => {
      if (!numeric) return sign * a.localeCompare(b, undefined, { numeric: true });
      // samples without a value come last in both orders
      if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
      return sign * (a - b);
    });
    body.append(...keyed.map(([, row]) => row));
  }

  for (const head of document.querySelectorAll("table.index th[data-sort]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sort(head, head.cellIndex));
  }
  for (const row of rows) {
    const link = row.querySelector("th a");
    if (!link) continue;
    row.classList.add("opens");
    row.addEventListener("click", (event) => {
      if (!event.target.closest("a") && !String(getSelection())) link.click();
    });
  }
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));
  form.addEventListener("input", filter);
  form.hidden = false;
  filter();
})();
