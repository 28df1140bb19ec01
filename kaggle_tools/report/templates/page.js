"use strict";

// A click on a heading sorts its table: numbers by size, words by the alphabet, what is not known last.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const heading = button.closest("th");
    const body = heading.closest("table").tBodies[0];
    const ascending = heading.getAttribute("aria-sort") !== "ascending";
    for (const other of heading.parentElement.cells) other.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const valueOf = (row) => row.cells[heading.cellIndex].dataset.value;
    const order = heading.classList.contains("number") ? bySize : byAlphabet;
    const rows = [...body.rows].sort((a, b) => order(valueOf(a), valueOf(b), ascending ? 1 : -1));
    body.append(...rows);
  });
}

function byAlphabet(one, other, direction) {
  if (one === "" || other === "") return (one === "") - (other === "");
  return direction * one.localeCompare(other, "en", { numeric: true });
}

function bySize(one, other, direction) {
  const [a, b] = [one, other].map((text) => (text === "" ? NaN : Number(text)));
  if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
  return direction * (a - b);
}
