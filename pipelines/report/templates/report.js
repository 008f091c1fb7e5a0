"use strict";
// Sliders of a score: cumulative counts at every place a bound can take are in the page, exact; nothing is estimated here.
const number = new Intl.NumberFormat("en-US");
const short = (v) => (Number.isInteger(v) ? number.format(v) : v.toPrecision(4));
const sums = (steps) => { let total = 0; return steps.map((step) => (total += step)); };

for (const root of document.querySelectorAll(".whatif")) {
  const sketch = JSON.parse(root.querySelector(".sketch").textContent);
  const [below, upto, keptBelow, keptUpto] = ["below", "upto", "kept_below", "kept_upto"].map((name) => sums(sketch[name]));
  const low = root.querySelector(".low"), high = root.querySelector(".high");
  const forced = [low.value, high.value];
  const lines = draw(root, sketch);
  const within = (from, to, under, over, total) =>
    Math.max(0, (to < sketch.edges.length ? over[to] : total) - (from < 0 ? 0 : under[from]));
  const passes = (from, to) => within(from, to, below, upto, sketch.measured);
  const now = passes(Number(low.value), Number(high.value));
  const update = () => {
    const from = Number(low.value), to = Number(high.value);
    const through = passes(from, to), stays = within(from, to, keptBelow, keptUpto, sketch.kept);
    const share = (n, of) => (of ? ` (${((100 * n) / of).toFixed(2)} %)` : "");
    root.querySelector(".low-value").textContent = from < 0 ? "no bound" : short(sketch.edges[from]);
    root.querySelector(".high-value").textContent = to >= sketch.edges.length ? "no bound" : short(sketch.edges[to]);
    root.querySelector(".passes").textContent = `${number.format(through)} of ${number.format(sketch.measured)}${share(through, sketch.measured)}`;
    root.querySelector(".change").textContent = `${through >= now ? "+" : "−"}${number.format(Math.abs(through - now))} samples`;
    root.querySelector(".stays").textContent = `${number.format(stays)} of ${number.format(sketch.kept)}${share(stays, sketch.kept)}`;
    lines(from < 0 ? null : sketch.edges[from], to >= sketch.edges.length ? null : sketch.edges[to]);
  };
  for (const input of [low, high]) input.addEventListener("input", update);
  root.querySelector(".reset").addEventListener("click", () => { [low.value, high.value] = forced; update(); });
  update();
}

// Lines that follow the sliders, over the plot's own frame.
function draw(root, sketch) {
  const frame = root.querySelector(".plot svg .mark-group.role-frame path.background");
  const size = frame && /h([\d.]+)v([\d.]+)/.exec(frame.getAttribute("d"));
  if (!size) return () => {};
  const [width, height] = [Number(size[1]), Number(size[2])];
  const scale = sketch.log ? Math.log : (v) => v;
  const place = (v) => ((scale(v) - scale(sketch.first)) / (scale(sketch.last) - scale(sketch.first))) * width;
  const make = () => {
    const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
    line.setAttribute("class", "bound"); line.setAttribute("y1", "0"); line.setAttribute("y2", String(height));
    frame.parentNode.appendChild(line);
    return line;
  };
  const pair = [make(), make()];
  return (...bounds) => pair.forEach((line, i) => {
    const x = bounds[i] === null || (sketch.log && bounds[i] <= 0) ? NaN : place(bounds[i]);
    line.style.display = x >= -1 && x <= width + 1 ? "" : "none";
    if (Number.isFinite(x)) { line.setAttribute("x1", String(x)); line.setAttribute("x2", String(x)); }
  });
}
