"use strict";
/* Numbers of a token under the pointer, or under the arrow keys once a context has the focus. */
(() => {
  const tip = document.getElementById("tip");
  let at = null;
  function show(cell) {
    at?.classList.remove("at");
    at = cell;
    tip.hidden = !cell;
    if (!cell) return;
    const position = [...cell.parentNode.children].indexOf(cell);
    const lines = [`token ${position}`];
    if (cell.dataset.t === undefined) lines.push("not counted: the first token of a context");
    else lines.push(`true ${cell.dataset.t}`);
    if (cell.dataset.s !== undefined) lines.push(`simulated ${cell.dataset.s}`);
    tip.textContent = lines.join(" · ");
    const box = cell.getBoundingClientRect(), mine = tip.getBoundingClientRect();
    const top = box.top - mine.height - 6;
    const left = Math.max(8, Math.min(box.left, innerWidth - mine.width - 8));
    tip.style.left = `${left}px`;
    tip.style.top = `${top < 4 ? box.bottom + 6 : top}px`;
  }
  document.addEventListener("pointerover", (event) => show(event.target.closest?.(".c") ?? null));
  document.addEventListener("scroll", () => show(null), { passive: true });
  document.addEventListener("keydown", (event) => {
    const group = document.activeElement?.closest?.(".tokens");
    if (event.key === "Escape") show(null);
    if (!group) return;
    const cells = [...group.children], here = cells.indexOf(at);
    const next = { ArrowRight: here + 1, ArrowLeft: Math.max(here, 1) - 1, Home: 0, End: cells.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    show(cells[Math.min(next, cells.length - 1)]);
    at.classList.add("at");
  });
  document.addEventListener("focusout", (event) => { if (event.target.matches(".tokens")) show(null); });
})();
