// Tables sort by a click on their heading; details open for paper. The page says everything without this script.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  table.tHead.rows[0].querySelectorAll("th").forEach((head, column) => {
    if (!head.textContent) return;
    const sort = () => {
      const up = head.getAttribute("aria-sort") === "descending";
      table.querySelectorAll("th[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const value = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent.replace(/,/g, "");
      const compare = (a, b) => {
        const [x, y] = [value(a), value(b)];
        return x !== "" && y !== "" && !isNaN(x) && !isNaN(y) ? x - y : x.localeCompare(y, undefined, { numeric: true });
      };
      [...body.rows].sort((a, b) => (up ? 1 : -1) * compare(a, b)).forEach((row) => body.append(row));
    };
    head.tabIndex = 0;
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
  });
}
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));

// What a script element of JSON holds.
const read = (element) => JSON.parse(element.textContent);
const make = (name, text, parent) => {
  const element = document.createElement(name);
  element.textContent = text;
  parent.append(element);
  return element;
};

// The cells of a confusion matrix open their images.
for (const element of document.querySelectorAll("script.cells")) {
  const panel = document.getElementById(element.dataset.into);
  let found;
  const open = (cell) => {
    found ??= read(element);
    const [truth, answer] = cell.split(",").map((place) => found.classes[place]);
    const { n, rows } = found.cells[cell];
    panel.replaceChildren();
    const more = n > rows.length ? `; the ${rows.length} most confident` : "";
    make("h3", `${truth} predicted as ${answer}: ${n.toLocaleString("en")} image${n === 1 ? "" : "s"}${more}`, panel);
    const cards = make("div", "", panel);
    cards.className = "cards small";
    for (const [id, stated, label, place] of rows) {
      const card = make("figure", "", cards);
      card.className = "card";
      if (place >= 0) Object.assign(make("img", "", card), { src: found.images[place], alt: id });
      const caption = make("figcaption", "", card);
      make("p", `prediction ${stated}, label ${label}`, caption);
      make("small", id, caption);
    }
    panel.hidden = false;
    panel.scrollIntoView({ block: "nearest" });
  };
  element.closest("section").addEventListener("click", (event) => {
    const cell = event.target.closest("[data-cell]");
    if (cell && (found ??= read(element)).cells[cell.dataset.cell]) open(cell.dataset.cell);
  });
}

// A threshold and what it gives, from counts of rows above each threshold.
for (const slider of document.querySelectorAll(".slider")) {
  const found = read(slider.querySelector("script"));
  const [range, select, output] = ["input", "select", "output"].map((name) => slider.querySelector(name));
  // Halves (1/16, 5/16, …) are rounded to even, as everywhere else on the page; toFixed rounds them up.
  const rounded = (value) => (value - ((16 * value) % 4 === 1 ? 1e-9 : 0)).toFixed(3);
  const share = (part, whole) => (whole ? rounded(part / whole) : "–");
  const show = () => {
    const [k, step] = [select ? +select.value : 0, +range.value];
    const [tp, fp, positive] = [found.tp[k][step], found.fp[k][step], found.positive[k]];
    const fn = positive - tp;
    const values = {
      tp: tp.toLocaleString("en"), fp: fp.toLocaleString("en"), fn: fn.toLocaleString("en"), precision: share(tp, tp + fp), recall: share(tp, positive),
      f1: share(2 * tp, 2 * tp + fp + fn), specificity: share(found.n - positive - fp, found.n - positive),
    };
    output.textContent = (step / found.steps).toFixed(found.steps < 100 ? 3 : 2);
    for (const [name, value] of Object.entries(values)) slider.querySelector(`[data-of="${name}"]`).textContent = value;
  };
  range.addEventListener("input", show);
  select?.addEventListener("change", show);
  slider.hidden = false;
  show();
}

// The map of images brings one label forward.
for (const pick of document.querySelectorAll(".pick")) {
  const select = pick.querySelector("select");
  select.addEventListener("change", () => {
    for (const group of pick.parentElement.querySelectorAll(".map2 g")) {
      group.classList.toggle("away", select.value !== "" && group.dataset.name !== select.value);
    }
  });
  pick.hidden = false;
}
