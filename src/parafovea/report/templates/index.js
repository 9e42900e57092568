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

  // The rows in the order of the page, none hidden.
  function reset() {
    for (const head of document.querySelectorAll("table.index th")) head.removeAttribute("aria-sort");
    for (const group of groups) {
      group.querySelector("tbody").append(...rows.filter((row) => group.contains(row)));
    }
    filter();
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
  form.addEventListener("reset", () => setTimeout(reset));
  form.addEventListener("input", filter);
  form.hidden = false;
  filter();
})();
