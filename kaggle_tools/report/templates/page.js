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
    const rows = [...body.rows].sort((a, b) => compare(valueOf(a), valueOf(b), ascending ? 1 : -1));
    body.append(...rows);
  });
}

function compare(one, other, direction) {
  if (one === "" || other === "") return (one === "") - (other === "");
  const [a, b] = [Number(one), Number(other)];
  if (Number.isNaN(a) !== Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
  return direction * (Number.isNaN(a) ? one.localeCompare(other, "en", { numeric: true }) : a - b);
}

// From one larger view to the next: opened by their own buttons they would lie upon each other.
for (const button of document.querySelectorAll("[data-turn-to]")) {
  button.addEventListener("click", () => document.getElementById(button.dataset.turnTo).showPopover());
}

// Arrow keys do the same; closing one is the browser's own Escape.
document.addEventListener("keydown", (event) => {
  const name = { ArrowLeft: "previous", ArrowRight: "next" }[event.key];
  const shown = document.querySelector(".full:popover-open");
  if (name && shown) shown.querySelector(`.${name}`)?.click();
});
