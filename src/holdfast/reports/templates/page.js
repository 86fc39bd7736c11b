"use strict";
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const button = document.createElement("button");
  const shown = () => root.style.colorScheme || (dark.matches ? "dark" : "light");
  const label = () => { button.textContent = shown() === "dark" ? "Light" : "Dark"; };
  button.className = "theme";
  button.type = "button";
  button.title = "Switch between light and dark";
  button.onclick = () => { root.style.colorScheme = shown() === "dark" ? "light" : "dark"; label(); };
  dark.addEventListener("change", label);
  label();
  document.body.prepend(button);

  // A cell's number is its value without the interval; what has none comes last in either direction.
  const key = cell => {
    if (!cell) return NaN;
    const text = (cell.querySelector(".value") || cell).textContent.trim();
    const number = text.replace(/−/g, "-").replace(/,(?=\d{3})/g, "").match(/^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?/);
    if (text === "∞" || text === "−∞") return text === "∞" ? Infinity : -Infinity;
    return number ? Number(number[0]) : text === "" || text === "–" ? NaN : text;
  };
  const compare = (a, b) => typeof a === "number" && typeof b === "number" ? a - b
    : String(a).localeCompare(String(b), undefined, {numeric: true});
  const sort = (table, column, down) => {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row, place) => ({row, place, value: key(row.cells[column])}));
    const empty = entry => typeof entry.value === "number" && Number.isNaN(entry.value);
    rows.sort((a, b) => empty(a) - empty(b) || (empty(a) ? 0 : compare(a.value, b.value) * (down ? -1 : 1)) || a.place - b.place);
    body.append(...rows.map(entry => entry.row));
  };
  for (const table of document.querySelectorAll("table:not(.matrix)")) {
    if (!table.tHead || !table.tBodies[0] || table.tBodies[0].rows.length < 3) continue;
    for (const head of table.tHead.rows[0].cells) {
      const inside = document.createElement("button");
      inside.type = "button";
      inside.className = "sort";
      inside.append(...head.childNodes);
      head.append(inside);
      inside.onclick = () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        sort(table, head.cellIndex, down);
      };
    }
  }
  addEventListener("beforeprint", () => { for (const d of document.querySelectorAll("details")) d.open = true; });
})();
