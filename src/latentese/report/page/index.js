"use strict";
/* The list of units: sorts, filters, and draws rows in chunks as they come into view. Texts enter by textContent only. */
(() => {
  const CHUNK = 100;
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = Object.fromEntries(data.columns.map((name, i) => [name, i]));
  const rows = data.rows.map((row) => ({ row, hay: `${row[at.unit]} ${row[at.text] ?? ""}`.toLowerCase() }));
  const el = (id) => document.getElementById(id);
  const heads = [...document.querySelectorAll(".units th")];
  const state = { query: "", target: "", status: "", sort: "", down: false };
  let found = rows, drawn = 0;

  const read = () => {
    const stored = new URLSearchParams(location.hash.slice(1));
    for (const key of ["query", "target", "status", "sort"]) if (stored.has(key)) state[key] = stored.get(key);
    if (!Object.hasOwn(at, state.sort)) state.sort = "";
    state.down = stored.get("down") === "1";
    for (const key of ["query", "target", "status"]) el(key).value = state[key];
  };
  const remember = () => {
    const kept = Object.entries(state).filter(([, value]) => value).map(([key, value]) => [key, value === true ? "1" : value]);
    if (kept.length || /=/.test(location.hash)) history.replaceState(null, "", `#${new URLSearchParams(kept)}`);
  };
  const node = (tag, look, text) => {
    const made = document.createElement(tag);
    if (look) made.className = look;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const drawing = (tag, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  };
  const number = (value) => (value === null ? "none" : (Math.round(100 * value) / 100 + 0).toFixed(2).replace("-", "−"));
  const percent = (value) => (value === 0 ? "0 %" : `${value < 0.0995 ? (100 * value).toPrecision(2) : (100 * value).toFixed(0)} %`);

  function mini(row) {
    /* -0.25 to 1: scores below are drawn at the end. */
    const x = (value) => 4 + 102 * (Math.max(-0.25, Math.min(1, value)) + 0.25) / 1.25;
    const svg = drawing("svg", { class: "mini", viewBox: "0 0 110 12", "aria-hidden": "true" });
    svg.append(drawing("line", { class: "zero", x1: x(0), x2: x(0), y1: 0, y2: 12 }));
    const wrong = row[at.wrong];
    if (wrong !== null) svg.append(drawing("line", { class: "wrong", x1: x(wrong), x2: x(wrong), y1: 2, y2: 10 }));
    if (row[at.low] !== null) svg.append(drawing("line", { class: "range", x1: x(row[at.low]), x2: x(row[at.high]), y1: 6, y2: 6 }));
    svg.append(drawing("circle", { class: "value", cx: x(row[at.score]), cy: 6, r: 3.5 }));
    return svg;
  }
  function line({ row }) {
    const tr = node("tr");
    const unit = node("td", "unit"), link = node("a", "", row[at.unit]);
    link.href = `units/${row[at.target]}/${row[at.unit]}.html`;
    unit.append(link);
    const failed = row[at.text] === null;
    const words = node("td", failed ? "words none" : "words");
    words.append(node("span", "", failed ? "no explanation" : row[at.text]));
    const score = node("td", "number");
    score.dataset.name = "score";
    score.append(number(row[at.score]));
    if (row[at.score] !== null) score.append(" ", node("span", "span", row[at.low] === null ? "(no interval)" : `[${number(row[at.low])}, ${number(row[at.high])}]`), mini(row));
    const wrong = node("td", "number", number(row[at.wrong]));
    wrong.dataset.name = "other’s";
    const density = node("td", "number", percent(row[at.density]));
    density.dataset.name = "density";
    const status = node("td", "state");
    status.append(node("span", `status ${row[at.status]}`, data.labels[row[at.status]]));
    tr.append(unit, node("td", "target", row[at.target]), words, score, wrong, density, status);
    return tr;
  }
  function drawMore(n = CHUNK) {
    const next = found.slice(drawn, drawn + n);
    el("rows").append(...next.map(line));
    drawn += next.length;
    el("more").hidden = drawn >= found.length;
  }
  function compare(a, b) {
    const i = at[state.sort], x = a.row[i], y = b.row[i];
    if (x === y) return 0;
    if (x === null) return 1;
    if (y === null) return -1;
    return (x < y ? -1 : 1) * (state.down ? -1 : 1);
  }
  function update() {
    const words = state.query.toLowerCase().split(/\s+/).filter(Boolean);
    found = rows.filter(({ row, hay }) => (!state.target || row[at.target] === state.target)
      && (!state.status || row[at.status] === state.status) && words.every((word) => hay.includes(word)));
    if (state.sort) found = [...found].sort(compare);
    for (const head of heads) head.setAttribute("aria-sort", head.dataset.key !== state.sort ? "none" : state.down ? "descending" : "ascending");
    el("rows").replaceChildren();
    drawn = 0;
    drawMore();
    el("none").hidden = found.length > 0;
    el("count").textContent = `${found.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} units`;
    remember();
  }
  let timer;
  el("query").addEventListener("input", (event) => {
    clearTimeout(timer);
    timer = setTimeout(() => { state.query = event.target.value; update(); }, 80);
  });
  for (const key of ["target", "status"]) el(key).addEventListener("change", (event) => { state[key] = event.target.value; update(); });
  document.querySelector(".tools").addEventListener("submit", (event) => event.preventDefault());
  for (const head of heads) head.querySelector("button").addEventListener("click", () => {
    const key = head.dataset.key, numeric = ["score", "wrong", "density"].includes(key);
    state.down = state.sort === key ? !state.down : numeric;
    state.sort = key;
    update();
  });
  new IntersectionObserver((entries) => {
    while (drawn < found.length && entries.some((entry) => entry.isIntersecting)) {
      drawMore();
      const box = el("more").getBoundingClientRect();
      if (box.top > innerHeight + 600) break;
    }
  }, { rootMargin: "600px" }).observe(el("more"));
  addEventListener("beforeprint", () => drawMore(found.length));
  read();
  update();
})();
