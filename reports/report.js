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

// The specification as wide as the room: small multiples in as many columns as fit, panels stretched
// to fill them. `axes` is what one panel's axis takes; drawing tells, see `draw`.
function fitted(part, room, axes) {
  const copy = { ...part };
  if (copy.columns) {
    const inner = copy.spec ?? copy.concat[0];
    const gap = typeof copy.spacing === "number" ? copy.spacing : 20;
    const [once, each] = copy.facet ? [axes, 0] : [0, axes];
    const least = 0.75 * widthOf(inner) + each;
    const columns = Math.floor((room - once + gap) / (least + gap));
    copy.columns = Math.max(1, Math.min(copy.columns, columns));
    const panel = (room - once + gap) / copy.columns - gap;
    if (copy.spec) copy.spec = fitted(copy.spec, panel, each);
    else copy.concat = copy.concat.map((view) => fitted(view, panel, each));
  } else if (copy.vconcat) {
    copy.vconcat = copy.vconcat.map((view) => fitted(view, room, axes));
  } else if (typeof copy.width === "number") {
    copy.width = Math.max(80, Math.floor(room - axes));
  }
  return copy;
}

function widthOf(part) {
  return part.width ?? widthOf((part.vconcat ?? part.concat ?? [part.spec ?? { width: 200 }])[0]);
}

function columnsOf(part) {
  return part.columns ?? (part.vconcat ? columnsOf(part.vconcat[0]) : 1);
}

// The page's policy forbids scripts to make code of texts and to add style sheets: Vega interprets its
// expressions (`ast`), and what its own sheets would say is in style.css.
const embedding = { renderer: "svg", actions: false, ast: true, defaultStyle: false, tooltip: { disableDefaultStyle: true } };

const drawn = new Map();

// Draws with a guess of what axes take, sees how wide that came out, and draws once more if it was off.
async function draw(element) {
  element.dataset.drawn = "yes";
  const specification = specifications[element.dataset.figure];
  const single = !columnsOf(specification) || (!specification.columns && !specification.vconcat);
  const room = Math.min(element.clientWidth - 2, single ? 720 : Infinity);
  let axes = 60;
  for (let attempt = 0; attempt < 3; attempt += 1) {
    const spec = fitted(specification, room, axes);
    const config = { ...(spec.config ?? {}), ...theme() };
    drawn.get(element)?.finalize();
    drawn.set(element, await window.vegaEmbed(element, { ...spec, config }, embedding));
    const excess = element.querySelector("svg").getBoundingClientRect().width - room;
    if (excess <= 0 && excess > -8) break;
    axes += excess / (firstOf(spec).facet ? 1 : columnsOf(spec)) + 1;
  }
}

function firstOf(part) {
  return part.vconcat && !part.columns ? firstOf(part.vconcat[0]) : part;
}

const charts = [...document.querySelectorAll(".chart")];
const drawIfNot = (chart) => (chart.dataset.drawn ? undefined : draw(chart));
const nearby = new IntersectionObserver((entries) => {
  entries.filter((entry) => entry.isIntersecting).forEach((entry) => drawIfNot(entry.target));
}, { rootMargin: "1200px" });
charts.forEach((chart) => nearby.observe(chart));

// The rest when there is nothing else to do, so that the page prints whole.
const idle = window.requestIdleCallback ?? ((work) => setTimeout(work, 200));
const drawNext = async () => {
  const next = charts.find((chart) => !chart.dataset.drawn);
  if (!next) return;
  await draw(next);
  idle(drawNext);
};
window.addEventListener("load", () => idle(drawNext));
window.addEventListener("beforeprint", () => charts.forEach(drawIfNot));

const redraw = () => charts.filter((chart) => chart.dataset.drawn).forEach(draw);
dark.addEventListener("change", redraw);
let width = document.body.clientWidth;
let resized;
window.addEventListener("resize", () => {
  clearTimeout(resized);
  resized = setTimeout(() => {
    if (document.body.clientWidth === width) return;
    width = document.body.clientWidth;
    redraw();
  }, 200);
});

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
