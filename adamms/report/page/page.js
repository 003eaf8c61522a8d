// What every page does: tables sort, charts say what is under the pointer, code can be copied.
"use strict";
(() => {
  const number = (text) => {
    const found = text.replace(/[★,\s]/g, "").match(/^[+-]?\d+(\.\d+)?/);
    return found ? Number(found[0]) : null;
  };
  const compare = (a, b) => {
    const x = number(a), y = number(b);
    if (x !== null && y !== null) return x - y || a.localeCompare(b, "en", { numeric: true });
    if (x !== null || y !== null) return x !== null ? -1 : 1;
    return a.localeCompare(b, "en", { numeric: true });
  };
  const missing = (text) => text === "" || text === "-";
  const sort = (heading) => {
    const table = heading.closest("table"), column = heading.cellIndex, body = table.tBodies[0];
    const numeric = heading.classList.contains("number");
    const before = heading.getAttribute("aria-sort");
    const down = before ? before === "ascending" : numeric;
    for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const text = (row) => row.cells[column].textContent.trim();
    const rows = [...body.rows].sort((a, b) => {
      const x = text(a), y = text(b);
      if (missing(x) || missing(y)) return missing(x) - missing(y);
      return down ? compare(y, x) : compare(x, y);
    });
    body.append(...rows);
  };
  for (const button of document.querySelectorAll(".sortable thead button"))
    button.addEventListener("click", () => sort(button.closest("th")));

  const tip = document.getElementById("tip"), MOST = 12; // values that it has room for
  const element = (name, text, kind) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };
  const show = (stop) => {
    const svg = stop.ownerSVGElement, pointer = svg.querySelector(".pointer");
    for (const end of ["x1", "x2"]) pointer.setAttribute(end, stop.dataset.x);
    pointer.classList.add("on");
    const table = element("table");
    let rows = JSON.parse(stop.dataset.rows);
    const more = rows.length - MOST;
    if (more > 0) rows = rows.sort((a, b) => Number(b[2]) - Number(a[2])).slice(0, MOST);
    for (const [kind, name, value] of rows) {
      const row = table.insertRow();
      row.insertCell().append(element("i", undefined, kind));
      row.insertCell().textContent = name;
      row.append(element("td", value, "number"));
    }
    tip.replaceChildren(element("strong", stop.dataset.heading), table);
    if (more > 0) tip.append(`the highest; ${more} more`);
    tip.hidden = false;
    const place = stop.getBoundingClientRect(), own = tip.getBoundingClientRect();
    const left = place.right + 10 + own.width < innerWidth ? place.right + 10 : place.left - 10 - own.width;
    tip.style.left = `${Math.max(4, Math.min(left, innerWidth - own.width - 4))}px`;
    tip.style.top = `${Math.max(4, Math.min(place.top, innerHeight - own.height - 4))}px`;
  };
  const hide = (svg) => {
    tip.hidden = true;
    svg.querySelector(".pointer").classList.remove("on");
  };
  for (const svg of document.querySelectorAll(".chart svg")) {
    const stops = [...svg.querySelectorAll(".stop")];
    let at = -1;
    for (const stop of stops) {
      stop.querySelector("title").remove(); // said by the box below, and once is enough
      stop.addEventListener("pointerenter", () => show(stop));
      stop.addEventListener("pointermove", () => { if (tip.hidden) show(stop); });
    }
    svg.addEventListener("pointerleave", () => hide(svg));
    svg.addEventListener("blur", () => hide(svg));
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (event.key === "Escape") hide(svg);
      if (!step || !stops.length) return;
      event.preventDefault();
      at = at < 0 ? (step > 0 ? 0 : stops.length - 1) : Math.max(0, Math.min(stops.length - 1, at + step));
      show(stops[at]);
    });
  }
  addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });

  for (const button of document.querySelectorAll("button.copy"))
    button.addEventListener("click", async () => {
      const code = button.parentElement.querySelector("code");
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
      } catch { // no permission: selected, it can be copied by hand
        getSelection().selectAllChildren(code);
        button.textContent = "Selected";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 1600);
    });
})();
