// A chart of one or two metrics of every shown run, drawn by uPlot. A pointer or the arrow keys read
// values; dragging, or + and -, zooms all charts alike.

import { element, setText } from "./dom.js";
import { AXES } from "./run.js";
import { savePicture } from "./save.js";
import { smooth } from "./smooth.js";
import uPlot from "./vendor/uPlot.js";

const COLOURS = 8;
const ROOM = 0.06; // of the height, above and below the curves
const DIGIT_PX = 6.6;
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const extreme = (values, choose) => values.reduce((a, b) => choose(a, b));

export class Chart {
  // spec: {id, title, series: [{key, label, dots}], format, tick, fromZero, finite}. group: the Charts.
  constructor(spec, group) {
    Object.assign(this, { spec, group, log: false, drawn: "", uplot: null, lines: [] });
    this.where = element("span", { class: "muted where" });
    this.legend = element("span", { class: "legend" });
    const log = element("button", { type: "button", "aria-pressed": false, title: "Logarithmic scale" }, "Log");
    log.addEventListener("click", () => {
      this.log = !this.log;
      log.setAttribute("aria-pressed", this.log);
      this.update();
    });
    const png = element("button", { type: "button", title: "Save as a picture" }, "PNG");
    png.addEventListener("click", () => savePicture(this));
    const head = element("div", { class: "card-head" }, element("h2", {}, spec.title), this.where, this.legend,
      element("span", { class: "buttons" }, log, png));
    this.plot = element("div", { class: "plot", tabindex: 0, role: "img" });
    this.plot.addEventListener("keydown", (event) => this.key(event));
    this.plot.addEventListener("blur", () => this.uplot?.setCursor({ left: -10, top: -10 }));
    this.root = element("div", { class: "card chart", id: `chart-${spec.id}` }, head, this.plot);
    new ResizeObserver(() => this.resize()).observe(this.plot);
  }

  hasValues() {
    return this.group.runs.some((run) => this.spec.series.some(({ key }) => run.points.some((p) => p[key] != null)));
  }

  // ------------------------------------------------------------ drawing

  update() {
    this.lines = this.group.runs.flatMap((run, index) => this.linesOf(run, index));
    if (!this.plot.clientWidth || !this.lines.length) return;
    const data = uPlot.join(this.lines.map(({ xs, ys }) => [xs, ys]));
    const looks = JSON.stringify([this.log, this.group.axis, css("--text"), this.lines.map(({ name, look }) => [name, look])]);
    if (looks === this.drawn) {
      this.uplot.setData(data);
    } else {
      this.uplot?.destroy();
      this.drawn = looks;
      this.showLegend();
      this.uplot = new uPlot(this.options(), data, this.plot);
      this.plot.uplot = this.uplot; // for those who look from outside
    }
    this.read();
  }

  // A run's curves; those that are smoothed lie above what they were made of.
  linesOf(run, index) {
    const places = run.places(this.group.axis);
    if (!places) return [];
    const several = this.group.runs.length > 1;
    return this.spec.series.flatMap(({ key, label, dots }, order) => {
      const used = run.points.map((p, i) => [places[i], p[key]]).filter(([, y]) => y != null && (!this.log || y > 0));
      if (!used.length) return [];
      const [xs, ys] = [used.map(([x]) => x), used.map(([, y]) => y)];
      const colour = css(`--series-${(several ? index : order) % COLOURS}`);
      const name = [several ? run.name : "", label ?? ""].filter(Boolean).join(" · ");
      const look = { colour, dots: Boolean(dots) || ys.length === 1, dash: several && order > 0 ? [6, 4] : [] };
      const line = { run, key, name, xs, ys, look, isRaw: false };
      const weight = dots ? 0 : this.group.smoothing;
      if (!weight) return [line];
      return [{ ...line, isRaw: true, look: { ...look, faint: true } }, { ...line, ys: smooth(ys, weight) }];
    });
  }

  options() {
    const label = { stroke: css("--muted"), font: "11.5px system-ui, sans-serif", ticks: { show: false } };
    const grid = { stroke: css("--edge"), width: 1 };
    const { format, incrs } = AXES[this.group.axis];
    const says = (way) => (_, values) => values.map((value) => (value == null ? "" : way(value)));
    return {
      width: this.plot.clientWidth,
      height: this.plot.clientHeight,
      padding: [8, 28, 0, 0],
      legend: { show: false },
      scales: {
        x: { time: false, range: () => this.group.domain() },
        y: { distr: this.log ? 3 : 1, range: (_, low, high) => this.range(low, high) },
      },
      axes: [
        { ...label, grid: { show: false }, size: 26, gap: 6, values: says(format), space: 90, ...(incrs && { incrs }) },
        { ...label, grid, size: (_, values) => this.axisWidth(values), gap: 6, values: says(this.spec.tick), space: 40 },
      ],
      series: [{}, ...this.lines.map(({ look }) => ({
        stroke: look.colour, width: look.faint ? 1 : 1.8, alpha: look.faint ? 0.3 : 1, dash: look.dash, spanGaps: true,
        points: { show: look.dots && !look.faint, size: 5, fill: look.colour },
      }))],
      cursor: {
        y: false,
        move: (u, left, top) => [left < 0 ? left : u.valToPos(u.data[0][u.posToIdx(left)], "x"), top],
        dataIdx: (u, series, closest) => (series === 0 ? closest : this.held(series - 1, u.data[0][closest], u)),
        points: { size: 8 },
        drag: { x: true, y: false, setScale: false, dist: 6 },
        sync: { key: "charts", scales: ["x", null], setSeries: false },
        bind: { dblclick: () => () => this.group.zoom(null) },
      },
      hooks: {
        setCursor: [() => this.read()],
        setSelect: [(u) => this.selected(u)],
        draw: [(u) => this.mark(u)],
      },
    };
  }

  range(low, high) {
    if (low == null) return this.log ? [1, 10] : [0, 1];
    if (this.log) return [low / 10 ** (ROOM * (Math.log10(high / low) || 1)), high * 10 ** (ROOM * (Math.log10(high / low) || 1))];
    const bottom = this.spec.fromZero ? Math.min(0, low) : low;
    const room = (high - bottom || Math.abs(high) || 1) * ROOM;
    return [this.spec.fromZero && low >= 0 ? 0 : bottom - room, high + room];
  }

  axisWidth(values) {
    return Math.max(50, ...(values ?? []).map((text) => text.length * DIGIT_PX + 14));
  }

  resize() {
    if (!this.plot.clientWidth) return;
    if (this.uplot) this.uplot.setSize({ width: this.plot.clientWidth, height: this.plot.clientHeight });
    else this.update();
  }

  // The best eval, and where a loss stops being a number.
  mark(u) {
    const { axis, runs } = this.group;
    const [low, high] = this.group.domain();
    for (const run of this.spec.finite ? runs : []) {
      const places = run.places(axis) ?? [];
      const placeOf = (point) => places[run.points.indexOf(point)];
      const [lost, best] = [run.lost(), run.best()];
      if (lost && placeOf(lost) >= low && placeOf(lost) <= high) this.markLost(u, placeOf(lost));
      if (best && placeOf(best) >= low && placeOf(best) <= high) this.markBest(u, placeOf(best), best.eval_loss);
    }
  }

  markLost(u, value) {
    const { ctx, bbox } = u;
    const x = u.valToPos(value, "x", true);
    const isLeft = x < bbox.left + bbox.width / 2;
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = css("--bad");
    ctx.lineWidth = devicePixelRatio;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    this.write(u, "not a number from here", x, bbox.top + 12 * devicePixelRatio, isLeft);
    ctx.restore();
  }

  markBest(u, value, loss) {
    const [x, y] = [u.valToPos(value, "x", true), u.valToPos(loss, "y", true)];
    u.ctx.save();
    u.ctx.strokeStyle = u.ctx.fillStyle = css("--text");
    u.ctx.lineWidth = 1.5 * devicePixelRatio;
    u.ctx.beginPath();
    u.ctx.arc(x, y, 6 * devicePixelRatio, 0, 2 * Math.PI);
    u.ctx.stroke();
    const isLeft = x < u.bbox.left + u.bbox.width / 2;
    if (this.group.runs.length === 1) this.write(u, `best eval ${this.spec.format(loss)}`, x, y - 14 * devicePixelRatio, isLeft);
    u.ctx.restore();
  }

  write({ ctx }, text, x, y, isLeft) {
    ctx.font = `${11.5 * devicePixelRatio}px system-ui, sans-serif`;
    ctx.textAlign = isLeft ? "left" : "right";
    ctx.fillText(text, x + (isLeft ? 8 : -8) * devicePixelRatio, y);
  }

  // ------------------------------------------------------------ zooming

  selected(u) {
    const { left, width } = u.select;
    if (!width) return;
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.group.zoom([u.posToVal(left, "x"), u.posToVal(left + width, "x")]);
  }

  zoomBy(factor) {
    const [low, high] = this.group.domain();
    const middle = this.uplot.cursor.idx == null ? (low + high) / 2 : this.uplot.data[0][this.uplot.cursor.idx];
    const half = ((high - low) * factor) / 2;
    this.group.zoom([middle - half, middle + half]);
  }

  // ------------------------------------------------------------ reading values

  key(event) {
    if (!this.uplot) return;
    if (event.key === "Escape") return this.group.zoom(null);
    if (event.key === "+" || event.key === "=") return this.zoomBy(0.5);
    if (event.key === "-") return this.zoomBy(2);
    const [low, high] = this.group.domain();
    const xs = this.uplot.data[0].filter((x) => x >= low && x <= high);
    const at = this.uplot.cursor.idx == null ? xs.length : xs.indexOf(this.uplot.data[0][this.uplot.cursor.idx]);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: xs.length - 1 }[event.key];
    if (to === undefined || !xs.length) return;
    event.preventDefault();
    const x = xs[Math.max(0, Math.min(xs.length - 1, to))];
    this.uplot.setCursor({ left: this.uplot.valToPos(x, "x"), top: 1 });
  }

  // The index of a line's last value at or before x; none past the end of its run.
  held(index, x, u = this.uplot) {
    const { run, isRaw } = this.lines[index];
    if (isRaw || x > extreme(run.places(this.group.axis), Math.max)) return null;
    const values = u.data[index + 1];
    for (let at = u.valToIdx(x); at >= 0; at -= 1) if (values[at] != null && u.data[0][at] <= x) return at;
    return null;
  }

  showLegend() {
    this.values = new Map();
    this.legend.replaceChildren();
    this.legend.classList.toggle("legend-many", this.group.runs.length > 1);
    this.lines.forEach(({ name, look, isRaw }, index) => {
      if (isRaw) return;
      const value = element("b");
      this.values.set(index, value);
      const key = element("span", { class: `key${look.dash.length ? " key-dashed" : ""}` });
      key.style.setProperty("--series", look.colour);
      this.legend.append(element("span", {}, ...(name ? [key, `${name} `] : []), value));
    });
  }

  read() {
    if (!this.uplot) return;
    const { idx } = this.uplot.cursor;
    const x = idx == null ? null : this.uplot.data[0][idx];
    const { label, format } = AXES[this.group.axis];
    setText(this.where, x === null ? "" : `${label} ${format(x)}`);
    const said = [...this.values].map(([index, node]) => {
      const { ys, name } = this.lines[index];
      const at = x === null ? null : this.held(index, x);
      const value = x === null ? ys.at(-1) : at === null ? null : this.uplot.data[index + 1][at];
      setText(node, this.spec.format(value));
      return `${name} ${node.textContent}`;
    });
    const seen = `${this.spec.title}. ${this.where.textContent || "Last"}: ${said.join(", ")}`;
    this.plot.setAttribute("aria-label", [seen, ...this.remarks()].join(". "));
  }

  // What is marked, in words.
  remarks() {
    return (this.spec.finite ? this.group.runs : []).flatMap((run) => {
      const [best, lost] = [run.best(), run.lost()];
      return [
        ...(best ? [`${run.name}: best eval ${this.spec.format(best.eval_loss)} at step ${best.step}`] : []),
        ...(lost ? [`${run.name}: not a number from step ${lost.step}`] : []),
      ];
    });
  }
}
