// Files that a person saves from the page: a chart as a picture, the points of all runs as a table.

const GAP_PX = 14;
const HEAD_PX = 30;

export function savePicture({ spec, plot, legend }) {
  const drawn = plot.uplot.ctx.canvas;
  const scale = drawn.width / plot.clientWidth;
  const style = getComputedStyle(document.documentElement);
  const canvas = document.createElement("canvas");
  canvas.width = drawn.width;
  canvas.height = drawn.height + HEAD_PX * scale;
  const pen = canvas.getContext("2d");
  pen.fillStyle = style.getPropertyValue("--surface");
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.scale(scale, scale);
  pen.fillStyle = style.getPropertyValue("--text");
  pen.font = "600 13px system-ui, sans-serif";
  pen.fillText(spec.title, GAP_PX, 20);
  let x = GAP_PX * 2 + pen.measureText(spec.title).width;
  pen.font = "12px system-ui, sans-serif";
  for (const entry of legend.children) {
    pen.fillStyle = entry.querySelector(".key")?.style.getPropertyValue("--series") ?? style.getPropertyValue("--muted");
    pen.fillText(entry.textContent, x, 20);
    x += pen.measureText(entry.textContent).width + GAP_PX;
  }
  pen.drawImage(drawn, 0, HEAD_PX, plot.clientWidth, drawn.height / scale);
  canvas.toBlob((blob) => save(blob, `${spec.id}.png`));
}

// Every point, also of a run whose chart shows but some.
export async function saveTable(runs, keys) {
  const rows = [["job_id", "name", "step", "epoch", "time", ...keys]];
  for (const run of runs) {
    for (const p of run.isThin ? await run.whole() : run.points) rows.push([run.id, run.name, p.step, p.epoch, p.at, ...keys.map((key) => p[key])]);
  }
  save(new Blob([rows.map((row) => row.map(field).join(",")).join("\r\n")], { type: "text/csv" }), "metrics.csv");
}

// A text that a spreadsheet would take for a formula is marked as text.
function field(value) {
  if (value == null) return "";
  if (typeof value === "number") return `${value}`;
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href));
}
