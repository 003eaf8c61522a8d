// The comparison: a search that is pointed at, in the table or beside the curves, stands out among the curves.
"use strict";
(() => {
  const pictures = [...document.querySelectorAll(".together")];
  const only = (number) => {
    for (const picture of pictures) {
      const mine = number === null ? [] : [...picture.querySelectorAll(`.j${number}`)];
      picture.classList.toggle("dim", mine.length > 0);
      for (const one of picture.querySelectorAll(".on:not(.pointer)")) one.classList.remove("on");
      for (const one of mine) one.classList.add("on");
    }
  };
  const watch = (element, number) => {
    element.addEventListener("pointerenter", () => only(number));
    element.addEventListener("pointerleave", () => only(null));
    element.addEventListener("focusin", () => only(number));
    element.addEventListener("focusout", () => only(null));
  };
  for (const row of document.querySelectorAll("#searches tbody tr")) watch(row, row.dataset.row);
  for (const line of document.querySelectorAll(".together .legend .line")) {
    const item = line.closest("li");
    item.tabIndex = 0;
    watch(item, /\bj(\d+)\b/.exec(line.getAttribute("class"))[1]);
  }
})();
