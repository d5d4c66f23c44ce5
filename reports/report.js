// Draws each chart when it comes near the screen, in the theme and width the reader has.

const specifications = JSON.parse(document.getElementById("specifications").textContent);
const dark = window.matchMedia("(prefers-color-scheme: dark)");

function theme() {
  const style = getComputedStyle(document.documentElement);
  const [ink, line] = ["--ink", "--line"].map((name) => style.getPropertyValue(name).trim());
  return {
    background: "transparent",
    font: "system-ui, DejaVu Sans, sans-serif",
    axis: { labelColor: ink, titleColor: ink, domainColor: line, tickColor: line, gridColor: line, gridOpacity: 0.6, labelFontSize: 11 },
    legend: { labelColor: ink, titleColor: ink, labelFontSize: 12, labelLimit: 400, columns: document.body.clientWidth < 600 ? 1 : undefined },
    header: { labelColor: ink, titleColor: ink },
    title: { color: ink, subtitleColor: ink, fontSize: 14, subtitlePadding: 6 },
    view: { stroke: line },
  };
}

// Small multiples wrap to the width there is; a panel wider than the page shrinks to it.
function fitted(part, room) {
  const copy = { ...part };
  for (const key of ["spec", "layer", "vconcat", "hconcat", "concat"]) {
    if (Array.isArray(copy[key])) copy[key] = copy[key].map((each) => fitted(each, room));
    else if (copy[key]) copy[key] = fitted(copy[key], room);
  }
  if (typeof copy.width === "number") copy.width = Math.min(copy.width, room);
  if (typeof copy.columns === "number") {
    const panel = panelWidth(copy) + 60;
    copy.columns = Math.max(1, Math.min(copy.columns, Math.floor((room + 60) / panel)));
  }
  if (copy.title) copy.title = wrapped(copy.title, room);
  return copy;
}

function panelWidth(part) {
  const inner = part.spec ?? (part.concat ?? [])[0] ?? {};
  return part.width ?? inner.width ?? 200;
}

function wrapped(title, room) {
  const lines = (text, size) => [text].flat().flatMap((each) => {
    const limit = Math.max(24, Math.floor(room / (size * 0.52)));
    return each.split(" ").reduce((rows, word) => {
      const last = rows[rows.length - 1];
      if (last !== undefined && (last + " " + word).length <= limit) rows[rows.length - 1] = last + " " + word;
      else rows.push(word);
      return rows;
    }, []);
  });
  if (typeof title === "string") return lines(title, 14);
  return { ...title, text: lines(title.text, 14), subtitle: title.subtitle ? lines(title.subtitle, 11) : title.subtitle };
}

async function draw(element) {
  element.dataset.drawn = "yes";
  const room = Math.max(200, element.clientWidth - 90);
  const specification = fitted(specifications[element.dataset.figure], room);
  const config = { ...(specification.config ?? {}), ...theme() };
  await window.vegaEmbed(element, { ...specification, config }, { renderer: "svg", actions: false });
}

const charts = [...document.querySelectorAll(".chart")];
const nearby = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting && !entry.target.dataset.drawn) draw(entry.target);
  }
}, { rootMargin: "1200px" });
charts.forEach((chart) => nearby.observe(chart));

const redraw = () => charts.filter((chart) => chart.dataset.drawn).forEach(draw);
dark.addEventListener("change", redraw);
let width = document.body.clientWidth;
window.addEventListener("resize", () => {
  if (Math.abs(document.body.clientWidth - width) < 40) return;
  width = document.body.clientWidth;
  redraw();
});
window.addEventListener("beforeprint", () => charts.filter((c) => !c.dataset.drawn).forEach(draw));

function csv(rows) {
  const columns = [...new Set(rows.flatMap(Object.keys))];
  const cell = (value) => (value === null || value === undefined ? "" : `"${String(value).replaceAll('"', '""')}"`);
  return [columns, ...rows.map((row) => columns.map((column) => row[column]))]
    .map((row) => row.map(cell).join(",")).join("\n") + "\n";
}

document.querySelectorAll("[data-download]").forEach((button) => button.addEventListener("click", () => {
  const name = button.dataset.download;
  const rows = Object.values(specifications[name].datasets ?? {}).flat();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv(rows)], { type: "text/csv" }));
  link.download = `${name}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}));
