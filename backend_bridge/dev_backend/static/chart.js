// A line chart over training steps: SVG, no library. A pointer or the arrow keys read values.

import { element, setText, svg } from "./dom.js";
import { count } from "./format.js";

const MARGIN = { top: 10, right: 14, bottom: 24, left: 52 };
const POINTS_PER_PIXEL = 2; // beyond this a curve is thinned to its extremes

export class LineChart {
  // series: [{key, label, dots}] of the points that update() gets, sorted by step.
  constructor(root, { title, series, format, tickFormat = format, fromZero = false }) {
    Object.assign(this, { root, title, series, format, tickFormat, fromZero });
    this.points = [];
    this.cursor = null;
    this.values = series.map(() => element("b"));
    this.where = element("span", { class: "muted where" });
    const legend = element("span", { class: "legend" }, this.where);
    series.forEach(({ label }, index) => {
      const key = label ? [element("span", { class: `key series-${index}` }), `${label} `] : [];
      legend.append(element("span", {}, ...key, this.values[index]));
    });
    this.plot = svg("svg", { tabindex: 0, role: "img", class: "plot" });
    root.replaceChildren(element("div", { class: "card-head" }, element("h2", {}, title), legend), this.plot);
    this.listen();
    this.frame = null;
    new ResizeObserver(() => this.schedule()).observe(this.plot);
  }

  listen() {
    this.plot.addEventListener("pointermove", (event) => this.point(event));
    this.plot.addEventListener("pointerdown", (event) => this.point(event));
    this.plot.addEventListener("pointerleave", () => this.setCursor(null));
    this.plot.addEventListener("blur", () => this.setCursor(null));
    this.plot.addEventListener("keydown", (event) => this.key(event));
  }

  update(points) {
    this.points = points.filter((p) => this.series.some(({ key }) => p[key] != null));
    this.schedule();
  }

  schedule() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  draw() {
    const { width, height } = this.plot.getBoundingClientRect();
    if (!width) return;
    this.plot.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.scale(width, height);
    const drawn = this.points.length ? [this.grid(width, height), ...this.curves()] : [this.nothing(width, height)];
    this.mark = svg("g", { class: "mark" });
    this.plot.replaceChildren(...drawn, this.mark);
    this.read();
  }

  scale(width, height) {
    const steps = this.points.map((p) => p.step);
    const all = this.series.flatMap(({ key }) => this.points.map((p) => p[key]).filter((v) => v != null));
    const first = steps[0] ?? 0;
    const last = steps.at(-1) ?? 1;
    let low = all.reduce((a, b) => Math.min(a, b), Infinity);
    let high = all.reduce((a, b) => Math.max(a, b), -Infinity);
    if (this.fromZero) low = Math.min(0, low);
    const room = (high - low || Math.abs(high) || 1) * 0.06;
    high += room;
    if (!this.fromZero) low -= room;
    const { left, right, top, bottom } = MARGIN;
    this.domain = { first, last, low, high };
    this.x = (step) => left + ((step - first) / (last - first || 1)) * (width - left - right);
    this.y = (value) => height - bottom - ((value - low) / (high - low)) * (height - top - bottom);
  }

  grid(width, height) {
    const group = svg("g", { class: "grid" });
    const { first, last, low, high } = this.domain;
    for (const value of ticks(low, high, height / 45)) {
      const y = this.y(value);
      const label = this.tickFormat(value);
      group.append(svg("line", { x1: MARGIN.left, x2: width - MARGIN.right, y1: y, y2: y }));
      group.append(svg("text", { x: MARGIN.left - 8, y: y + 4, "text-anchor": "end" }, label));
    }
    for (const step of ticks(first, last, width / 70, 1)) {
      group.append(svg("text", { x: this.x(step), y: height - 6, "text-anchor": "middle" }, count(step)));
    }
    return group;
  }

  curves() {
    return this.series.map(({ key, dots }, index) => {
      const places = this.points.filter((p) => p[key] != null).map((p) => [this.x(p.step), this.y(p[key])]);
      const group = svg("g", { class: `series-${index}` });
      group.append(svg("path", { d: path(thin(places)) }));
      if (dots || places.length === 1) {
        for (const [cx, cy] of places.slice(-200)) group.append(svg("circle", { cx, cy, r: 2.5 }));
      }
      return group;
    });
  }

  nothing(width, height) {
    return svg("text", { x: width / 2, y: height / 2, "text-anchor": "middle", class: "nothing" }, "No values yet");
  }

  // ------------------------------------------------------------ reading values

  point(event) {
    if (!this.points.length) return;
    const x = event.clientX - this.plot.getBoundingClientRect().left;
    let best = 0;
    this.points.forEach((p, index) => {
      if (Math.abs(this.x(p.step) - x) < Math.abs(this.x(this.points[best].step) - x)) best = index;
    });
    this.setCursor(this.points[best].step);
  }

  key(event) {
    const end = this.points.length - 1;
    const at = this.cursor === null ? end : this.points.findIndex((p) => p.step >= this.cursor);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: end }[event.key];
    if (event.key === "Escape") this.setCursor(null);
    if (to === undefined || end < 0) return;
    event.preventDefault();
    this.setCursor(this.points[Math.max(0, Math.min(end, to))].step);
  }

  setCursor(step) {
    this.cursor = step;
    if (this.mark) this.read();
  }

  read() {
    const at = this.points.find((p) => p.step === this.cursor);
    this.mark.replaceChildren();
    if (at) {
      const x = this.x(at.step);
      const { high, low } = this.domain;
      this.mark.append(svg("line", { x1: x, x2: x, y1: this.y(high), y2: this.y(low) }));
    }
    setText(this.where, at ? `Step ${count(at.step)}` : "");
    this.series.forEach(({ key }, index) => {
      const value = at ? at[key] : this.points.findLast((p) => p[key] != null)?.[key];
      setText(this.values[index], this.format(value ?? null));
      if (at && value != null) {
        const circle = svg("circle", { cx: this.x(at.step), cy: this.y(value), r: 4 });
        this.mark.append(svg("g", { class: `series-${index}` }, circle));
      }
    });
    const said = this.series.map(({ label }, i) => `${label || this.title} ${this.values[i].textContent}`);
    this.plot.setAttribute("aria-label", `${this.title}. ${this.where.textContent || "Last"}: ${said.join(", ")}`);
  }
}

function path(places) {
  return places.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
}

// Keeps the highest and lowest place of each pixel column, in order: no peak is lost.
function thin(places) {
  if (places.length < 2) return places;
  const pixels = places.at(-1)[0] - places[0][0];
  if (places.length <= pixels * POINTS_PER_PIXEL) return places;
  const columns = new Map();
  for (const place of places) {
    const column = columns.get(Math.floor(place[0]));
    if (!column) columns.set(Math.floor(place[0]), [place, place]);
    else if (place[1] < column[0][1]) column[0] = place;
    else if (place[1] > column[1][1]) column[1] = place;
  }
  return [...columns.values()].flatMap(([a, b]) => (a === b ? [a] : a[0] <= b[0] ? [a, b] : [b, a]));
}

// Round numbers between low and high, about as many as asked for, at least `least` apart.
export function ticks(low, high, wanted, least = 0) {
  const rough = (high - low) / Math.max(1, wanted);
  if (!(rough > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(rough));
  const size = Math.max(least, [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough));
  const found = [];
  for (let i = Math.ceil(low / size); i * size <= high; i += 1) found.push(i * size);
  return found;
}
