// A line chart over training steps: SVG, no library. A pointer or the arrow keys read values;
// dragging, or + and -, zooms; another job's points lie behind as dashed curves.

import { element, setText, svg } from "./dom.js";
import { count } from "./format.js";
import { linear, logarithmic, ticks } from "./scale.js";

const MARGIN = { top: 10, right: 14, bottom: 24, left: 52 };
const POINTS_PER_PIXEL = 2; // beyond this a curve is thinned to its extremes
const DRAG_PX = 6; // less is a click
const HALF_DIGIT_PX = 3.8; // of the labels

export class LineChart {
  // series: [{key, label, dots}] of the points that update() gets, sorted by step.
  // onZoom: called with [first, last] steps, or null for all of them.
  constructor(root, { title, series, format, tickFormat = format, fromZero = false }, onZoom) {
    Object.assign(this, { root, title, series, format, tickFormat, fromZero, onZoom });
    this.all = [];
    this.other = [];
    this.range = null;
    this.cursor = null;
    this.dragFrom = null;
    this.log = false;
    this.values = series.map(() => element("b"));
    this.where = element("span", { class: "muted where" });
    this.logButton = element("button", { type: "button", "aria-pressed": false, title: "Logarithmic scale" }, "Log");
    this.logButton.addEventListener("click", () => this.toggleLog());
    const legend = element("span", { class: "legend" }, this.where);
    series.forEach(({ label }, index) => {
      const key = label ? [element("span", { class: `key series-${index}` }), `${label} `] : [];
      legend.append(element("span", {}, ...key, this.values[index]));
    });
    legend.append(this.logButton);
    this.plot = svg("svg", { tabindex: 0, role: "img", class: "plot" });
    root.replaceChildren(element("div", { class: "card-head" }, element("h2", {}, title), legend), this.plot);
    this.listen();
    this.frame = null;
    new ResizeObserver(() => this.schedule()).observe(this.plot);
  }

  listen() {
    this.plot.addEventListener("pointermove", (event) => this.point(event));
    this.plot.addEventListener("pointerdown", (event) => this.startDrag(event));
    this.plot.addEventListener("pointerup", (event) => this.endDrag(event));
    this.plot.addEventListener("pointercancel", () => this.stopDrag());
    this.plot.addEventListener("pointerleave", () => this.setCursor(null));
    this.plot.addEventListener("dblclick", () => this.onZoom(null));
    this.plot.addEventListener("blur", () => this.setCursor(null));
    this.plot.addEventListener("keydown", (event) => this.key(event));
  }

  // endedAt: the step from which on values are no finite numbers, if there is one.
  update(points, other = [], endedAt = null) {
    const used = (p) => this.series.some(({ key }) => p[key] != null);
    const steps = [...points, ...other].map((p) => p.step);
    this.whole = [steps.reduce((a, b) => Math.min(a, b), Infinity), steps.reduce((a, b) => Math.max(a, b), 0)];
    this.all = points.filter(used);
    this.other = other.filter(used);
    this.endedAt = endedAt || null;
    this.schedule();
  }

  zoom(range) {
    this.range = range;
    this.schedule();
  }

  toggleLog() {
    this.log = !this.log;
    this.logButton.setAttribute("aria-pressed", this.log);
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
    const inRange = ({ step }) => !this.range || (step >= this.range[0] && step <= this.range[1]);
    this.points = this.all.filter(inRange);
    const behind = this.other.filter(inRange);
    this.scale(width, height, behind);
    const empty = !this.points.length && !behind.length;
    const drawn = empty
      ? [this.nothing(width, height)]
      : [this.grid(width, height), this.curves(behind, "other"), this.curves(this.points, "own")];
    this.mark = svg("g", { class: "mark" });
    this.band = svg("rect", { class: "band", y: MARGIN.top, height: height - MARGIN.top - MARGIN.bottom, width: 0 });
    this.plot.replaceChildren(...drawn, this.band, this.mark);
    this.read();
  }

  scale(width, height, behind) {
    const points = [...this.points, ...behind];
    const usable = (v) => v != null && (!this.log || v > 0);
    const all = this.series.flatMap(({ key }) => points.map((p) => p[key]).filter(usable));
    const [first, last] = this.range ?? this.whole; // of all charts, so that they stand above each other
    const { left, right, top, bottom } = MARGIN;
    this.domain = { first, last };
    this.x = (step) => left + ((step - first) / (last - first || 1)) * (width - left - right);
    this.stepAt = (x) => first + ((x - left) / (width - left - right)) * (last - first);
    this.scaleY = (this.log ? logarithmic : linear)(all, this.fromZero);
    this.y = (value) => height - bottom - this.scaleY.share(value) * (height - top - bottom);
  }

  usable(value) {
    return value != null && (!this.log || value > 0);
  }

  grid(width, height) {
    const group = svg("g", { class: "grid" });
    for (const value of this.scaleY.ticks(height / 45)) {
      const y = this.y(value);
      const label = this.tickFormat(value);
      group.append(svg("line", { x1: MARGIN.left, x2: width - MARGIN.right, y1: y, y2: y }));
      group.append(svg("text", { x: MARGIN.left - 8, y: y + 4, "text-anchor": "end" }, label));
    }
    for (const step of ticks(this.domain.first, this.domain.last, width / 70, 1)) {
      const label = count(step);
      const x = Math.min(this.x(step), width - label.length * HALF_DIGIT_PX - 1); // whole at the edge, too
      group.append(svg("text", { x, y: height - 6, "text-anchor": "middle" }, label));
    }
    if (this.endedAt !== null && this.endedAt >= this.domain.first && this.endedAt <= this.domain.last) {
      const x = this.x(this.endedAt);
      const anchor = x > width / 2 ? "end" : "start";
      group.append(svg("line", { class: "ended", x1: x, x2: x, y1: MARGIN.top, y2: height - MARGIN.bottom }));
      group.append(svg("text", { class: "ended", x: x + (anchor === "end" ? -6 : 6), y: MARGIN.top + 12, "text-anchor": anchor }, "not a number from here"));
    }
    return group;
  }

  curves(points, whose) {
    const all = this.series.map(({ key, dots }, index) => {
      const places = points.filter((p) => this.usable(p[key])).map((p) => [this.x(p.step), this.y(p[key])]);
      const group = svg("g", { class: `series-${index}` });
      group.append(svg("path", { d: path(thin(places)) }));
      if (dots || places.length === 1) {
        for (const [cx, cy] of places.slice(-200)) group.append(svg("circle", { cx, cy, r: 2.5 }));
      }
      return group;
    });
    return svg("g", { class: whose }, ...all);
  }

  nothing(width, height) {
    return svg("text", { x: width / 2, y: height / 2, "text-anchor": "middle", class: "nothing" }, "No values yet");
  }

  // ------------------------------------------------------------ zooming

  place(event) {
    return event.clientX - this.plot.getBoundingClientRect().left;
  }

  startDrag(event) {
    this.point(event);
    if (event.button !== 0 || event.pointerType === "touch") return;
    this.dragFrom = this.place(event);
    this.plot.setPointerCapture(event.pointerId);
  }

  stopDrag() {
    this.dragFrom = null;
    this.band?.setAttribute("width", 0);
  }

  endDrag(event) {
    const from = this.dragFrom;
    this.stopDrag();
    if (from === null || Math.abs(this.place(event) - from) < DRAG_PX) return;
    const steps = [from, this.place(event)].map((x) => Math.round(this.stepAt(x))).sort((a, b) => a - b);
    this.zoomTo(steps[0], steps[1]);
  }

  zoomBy(factor) {
    const { first, last } = this.domain;
    const middle = this.cursor ?? (first + last) / 2;
    const half = ((last - first) * factor) / 2;
    this.zoomTo(Math.round(middle - half), Math.round(middle + half));
  }

  // Within the steps that there are; all of them is no zoom.
  zoomTo(first, last) {
    const [low, high] = this.whole;
    const [from, to] = [Math.max(low, first), Math.min(high, last)];
    if (to - from >= 1) this.onZoom(from === low && to === high ? null : [from, to]);
  }

  // ------------------------------------------------------------ reading values

  point(event) {
    const x = this.place(event);
    if (this.dragFrom !== null) {
      this.band.setAttribute("x", Math.min(x, this.dragFrom));
      this.band.setAttribute("width", Math.abs(x - this.dragFrom));
    }
    if (!this.points?.length) return;
    let best = 0;
    this.points.forEach((p, index) => {
      if (Math.abs(this.x(p.step) - x) < Math.abs(this.x(this.points[best].step) - x)) best = index;
    });
    this.setCursor(this.points[best].step);
  }

  key(event) {
    const end = (this.points?.length ?? 0) - 1;
    if (event.key === "Escape") {
      if (this.cursor === null) this.onZoom(null);
      this.setCursor(null);
    }
    if (end < 0) return;
    if (event.key === "+" || event.key === "=") return this.zoomBy(0.5);
    if (event.key === "-") return this.zoomBy(2);
    const at = this.cursor === null ? end : this.points.findIndex((p) => p.step >= this.cursor);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: end }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.setCursor(this.points[Math.max(0, Math.min(end, to))].step);
  }

  // The last point with a value at or before a step; none past the end of its run. Without a step: the last.
  held(points, key, step = Infinity) {
    if (step !== Infinity && step > (points.at(-1)?.step ?? -Infinity)) return undefined;
    return points.findLast((p) => p[key] != null && p.step <= step);
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
      const [bottom, top] = [this.scaleY.low, this.scaleY.high].map((value) => this.y(value));
      this.mark.append(svg("line", { x1: x, x2: x, y1: top, y2: bottom }));
    }
    setText(this.where, at ? `Step ${count(at.step)}` : "");
    this.series.forEach(({ key }, index) => {
      const held = (points) => this.held(points, key, at?.step);
      const point = held(this.all);
      const beside = this.other.length ? ` / ${this.format(held(this.other)?.[key] ?? null)}` : "";
      setText(this.values[index], this.format(point?.[key] ?? null) + beside);
      if (at && point && this.usable(point[key])) {
        const circle = svg("circle", { cx: this.x(point.step), cy: this.y(point[key]), r: 4 });
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
