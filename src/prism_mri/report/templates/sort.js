(() => {
  "use strict";
  const EMPTY = "–";
  const readKey = (row, column) => {
    const cell = row.cells[column];
    const text = cell.textContent.trim();
    if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
    return text === EMPTY ? null : text;
  };
  const compare = (first, second) =>
    typeof first === "number" && typeof second === "number"
      ? first - second
      : String(first).localeCompare(String(second), "en", { numeric: true });
  const sortTable = (header) => {
    const table = header.closest("table");
    const down = header.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = table.tBodies[0];
    const keyed = Array.from(body.rows, (row) => [readKey(row, header.cellIndex), row]);
    keyed.sort(([first], [second]) => {
      if (first === null || second === null) return (first === null) - (second === null);
      return down ? compare(second, first) : compare(first, second);
    });
    body.append(...keyed.map(([, row]) => row));
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("th > button");
    if (button) sortTable(button.parentElement);
  });
})();
