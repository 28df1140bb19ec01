"use strict";

const STEP = 100;
const longTables = new Map();
const alphabet = new Intl.Collator("en", { numeric: true });

// A click on a heading sorts its table: numbers by size, words by the alphabet, what is not known last.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const heading = button.closest("th");
    const table = heading.closest("table");
    const body = table.tBodies[0];
    const ascending = heading.getAttribute("aria-sort") !== "ascending";
    for (const other of heading.parentElement.cells) other.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const order = heading.classList.contains("number") ? bySize : byAlphabet;
    const compared = (a, b) => order(a, b, ascending ? 1 : -1);
    if (longTables.has(table)) return longTables.get(table)(heading.cellIndex, compared);
    const valueOf = (row) => row.cells[heading.cellIndex].dataset.value;
    body.append(...[...body.rows].sort((a, b) => compared(valueOf(a), valueOf(b))));
  });
}

function byAlphabet(one, other, direction) {
  if (one === "" || other === "") return (one === "") - (other === "");
  return direction * alphabet.compare(one, other);
}

function bySize(one, other, direction) {
  const [a, b] = [one, other].map((text) => (text === "" ? NaN : Number(text)));
  if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
  return direction * (a - b);
}

// A table of thousands of rows is data, searched and sorted as a whole; only so many of its rows are made at once. The
// name of a photo that is shown in a gallery opens its larger view, as the small picture there does.
for (const holder of document.querySelectorAll(".long-table")) {
  const [table, search, count, more] = ["table", "input", "output", ".more"].map((one) => holder.querySelector(one));
  const all = JSON.parse(holder.querySelector("script").textContent);
  const digits = [...table.tHead.rows[0].cells].map((heading) => heading.dataset.digits);
  const formats = digits.map((n) => n && new Intl.NumberFormat("en", { minimumFractionDigits: n, maximumFractionDigits: n }));
  const shots = [...document.querySelectorAll(".three .shot, #photos .shot")].filter((shot) => shot.querySelector("button"));
  const pictures = new Map(shots.map((shot) => [shot.dataset.stem, shot.querySelector("button")]));
  let found = all;
  const add = () => {
    const body = table.tBodies[0];
    for (const row of found.slice(body.rows.length, body.rows.length + STEP)) body.append(lineOf(row, formats, pictures));
    const left = found.length - body.rows.length;
    more.hidden = left === 0;
    more.dataset.left = left.toLocaleString("en");
    more.textContent = `show ${Math.min(left, STEP)} more`;
  };
  const show = () => {
    const words = search.value.toLowerCase().split(/\s+/);
    found = all.filter((row) => words.every((word) => row[0].toLowerCase().includes(word)));
    const whole = `${all.length.toLocaleString("en")} photo${all.length === 1 ? "" : "s"}`;
    count.textContent = found.length === all.length ? whole : `${found.length.toLocaleString("en")} of ${whole}`;
    table.tBodies[0].replaceChildren();
    add();
  };
  longTables.set(table, (column, compared) => {
    all.sort((a, b) => compared(a[column] ?? "", b[column] ?? ""));
    show();
  });
  search.addEventListener("input", show);
  more.addEventListener("click", add);
  show();
}

function lineOf(row, formats, pictures) {
  const line = document.createElement("tr");
  row.forEach((value, at) => {
    const cell = line.insertCell();
    const picture = at === 0 && pictures.get(value);
    const text = value === null ? "" : formats[at] ? formats[at].format(value) : value;
    cell.classList.toggle("number", Boolean(formats[at]));
    if (!picture) return void (cell.textContent = text);
    const opener = document.createElement("button");
    opener.type = "button";
    opener.className = "opener";
    opener.textContent = text;
    opener.addEventListener("click", () => picture.click());
    cell.append(opener);
  });
  return line;
}
// The page of a run that is being trained is written anew while it is open.
const reload = document.getElementById("reload");
if (reload) setInterval(() => { if (reload.checked) location.reload(); }, 60_000);
