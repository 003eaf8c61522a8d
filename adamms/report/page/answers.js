// The answers along the grid: filtered, searched, ordered, and put into the page some at a time.
"use strict";
(() => {
  const source = document.getElementById("answers-data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const STEP = 24, SHORT = 18; // rows at a time; letters up to which answers stand in a strip
  const list = document.getElementById("rows"), more = document.getElementById("more");
  const count = document.getElementById("count"), form = document.getElementById("filters");
  const element = (name, text, kind) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };
  const judged = (row, at) => (at === null || row.given[at] < 0 ? null : row.right[row.given[at]]);
  const HALF = 0.5; // of the points: an answer with more is right
  const both = (row) => [judged(row, data.chosen), judged(row, data.base)].every((one) => one !== null);
  const judgements = {
    right: (row) => judged(row, data.chosen) > HALF,
    wrong: (row) => judged(row, data.chosen) !== null && judged(row, data.chosen) <= HALF,
    gained: (row) => both(row) && judged(row, data.chosen) > judged(row, data.base),
    lost: (row) => both(row) && judged(row, data.chosen) < judged(row, data.base),
    never: (row) => row.right.some((one) => one !== null) && !row.right.some((one) => one > HALF),
  };
  const words = data.rows.map((row) =>
    [row.id, row.task, row.question, row.label ?? "", ...row.texts, ...Object.values(row.columns)].join("\n").toLowerCase());
  const chosenRows = () => {
    const value = (name) => form.elements[name]?.value ?? "";
    const text = value("text").trim().toLowerCase(), change = value("change");
    const kept = data.rows.map((row, index) => [row, index]).filter(([row, index]) =>
      (!value("task") || row.task === value("task"))
      && (!change || (change === "changed") === row.changes > 0)
      && (!value("judged") || judgements[value("judged")](row))
      && (!text || words[index].includes(text)));
    if (value("order") === "changes") kept.sort((a, b) => b[0].changes - a[0].changes || a[1] - b[1]);
    return kept.map(([row]) => row);
  };

  const mark = (right) => (right === null ? "" : right > HALF ? "right" : "wrong");
  const sign = (right) => (right === null ? "" : right === 1 ? " ✓" : right === 0 ? " ✗" : ` ${right.toFixed(2)}`);
  const runsOf = (row) => { // neighbours with the same answer, together
    const runs = [];
    row.given.forEach((given, at) => {
      const last = runs.at(-1);
      if (last && last.given === given) last.to = at;
      else runs.push({ given, from: at, to: at });
    });
    return runs.filter((run) => run.given >= 0);
  };
  const isChosen = (run) => data.chosen !== null && run.from <= data.chosen && data.chosen <= run.to;
  const range = (run) => data.candidates[run.from] + (run.to > run.from ? ` – ${data.candidates[run.to]}` : "");
  const strip = (row) => {
    const box = element("div", undefined, "scroll"), made = element("div", undefined, "strip");
    box.tabIndex = 0;
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", `answers to ${row.id}`);
    for (const run of runsOf(row)) {
      const right = row.right[run.given];
      const cell = element("span", (row.texts[run.given] || "(empty)") + sign(right), `run ${mark(right)}`);
      cell.style.gridColumn = `${run.from + 1} / ${run.to + 2}`;
      cell.title = `${data.noun} ${range(run)}`;
      if (isChosen(run)) cell.classList.add("chosen");
      made.append(cell);
    }
    data.candidates.forEach((name, at) => {
      const cell = element("span", name, at === data.chosen ? "at chosen" : "at");
      cell.style.gridColumn = `${at + 1}`;
      made.append(cell);
    });
    box.append(made);
    return box;
  };
  const listed = (row) => {
    const made = element("dl", undefined, "list");
    for (const run of runsOf(row)) {
      const right = row.right[run.given];
      const item = element("div", undefined, mark(right));
      if (isChosen(run)) item.classList.add("chosen");
      item.append(element("dt", `${data.noun} ${range(run)}${sign(right)}`));
      item.append(element("dd", row.texts[run.given] || "(empty)"));
      made.append(item);
    }
    return made;
  };

  const dialog = element("dialog");
  dialog.addEventListener("click", () => dialog.close());
  document.body.append(dialog);
  const pictures = (row) => {
    const made = element("div", undefined, "pictures");
    const last = row.images.length - 1;
    row.images.forEach((place, at) => {
      const video = row.video && at === last;
      made.append(picture(row, place, video ? "video" : "image"));
      if (video && place !== null) made.append(element("div", "video, first frame", "none"));
    });
    if (row.images.length === 0) made.append(element("div", "no image", "none"));
    return made;
  };
  const picture = (row, place, noun) => {
    if (place === null) return element("div", `${noun} not in this page`, "none");
    const image = element("img");
    image.src = data.images[place];
    image.alt = `${noun} of ${row.id}`;
    image.tabIndex = 0;
    image.addEventListener("load", () => image.classList.toggle("small", image.naturalWidth < 100));
    const enlarge = () => {
      const large = element("img");
      large.src = image.src;
      large.alt = image.alt;
      dialog.replaceChildren(large);
      dialog.showModal();
    };
    image.addEventListener("click", enlarge);
    image.addEventListener("keydown", (event) => { if (event.key === "Enter") enlarge(); });
    return image;
  };
  const item = (row) => {
    const made = element("li", undefined, "row"), body = element("div"), head = element("div", undefined, "head");
    head.append(element("h3", row.question || row.id));
    const meta = element("p", `${row.task} · ${row.id}`, "meta");
    if (row.label) meta.append(" · label: ", element("b", row.label));
    for (const [name, text] of Object.entries(row.columns)) meta.append(` · ${name}: ${text}`);
    meta.append(` · ${row.changes} ${row.changes === 1 ? "change" : "changes"}`);
    const brief = row.texts.every((text) => text.length <= SHORT && !text.includes("\n"));
    head.append(meta);
    body.append(head, brief && data.candidates.every((name) => name.length <= 6) ? strip(row) : listed(row));
    made.append(pictures(row), body);
    return made;
  };

  let rows = [], shown = 0;
  const add = () => {
    list.append(...rows.slice(shown, shown + STEP).map(item));
    shown = Math.min(rows.length, shown + STEP);
    more.hidden = shown >= rows.length;
    count.textContent = `${rows.length} of ${data.rows.length} examples`
      + (shown < rows.length ? `, the first ${shown} shown` : "");
  };
  const refresh = () => {
    rows = chosenRows();
    shown = 0;
    list.replaceChildren();
    add();
  };
  more.addEventListener("click", add);
  form.addEventListener("input", refresh);
  form.addEventListener("submit", (event) => event.preventDefault());
  refresh();
})();
