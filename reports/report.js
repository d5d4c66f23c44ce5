// Draws each chart when it comes near the screen, in the theme and width the reader has.

const specifications = JSON.parse(document.getElementById("specifications").textContent);
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const PRINT = { ink: "#000000", line: "#bbbbbb", background: "#ffffff" };
const PRINT_WIDTH = 688; // two columns of a journal, 7.16 inches, in pixels

function theme({ ink, line, background }, narrow) {
  return {
    background,
    font: "system-ui, DejaVu Sans, sans-serif",
    axis: { labelColor: ink, titleColor: ink, domainColor: line, tickColor: line, gridColor: line, gridOpacity: 0.6, labelFontSize: 11 },
    legend: { labelColor: ink, titleColor: ink, labelFontSize: 12, labelLimit: 400, columns: narrow ? 1 : undefined },
    header: { labelColor: ink, titleColor: ink },
    title: { color: ink, subtitleColor: ink, fontSize: 14, subtitlePadding: 6 },
    view: { stroke: line },
    text: { color: ink },
  };
}

function screenTheme() {
  const style = getComputedStyle(document.documentElement);
  const [ink, line] = ["--ink", "--line"].map((name) => style.getPropertyValue(name).trim());
  return theme({ ink, line, background: "transparent" }, document.body.clientWidth < 600);
}

// The specification as wide as the room: small multiples in as many columns as fit, panels stretched
// to fill them. `axes` is what one panel's axis takes; drawing tells, see `embed`.
function fitted(part, room, axes) {
  const { hconcat, ...rest } = part;
  const copy = hconcat ? { ...rest, concat: hconcat, columns: hconcat.length } : { ...part };
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
  return part.width ?? widthOf((part.vconcat ?? part.hconcat ?? part.concat ?? [part.spec ?? { width: 200 }])[0]);
}

function columnsOf(part) {
  return part.columns ?? part.hconcat?.length ?? (part.vconcat ? Math.min(...part.vconcat.map(columnsOf)) : 1);
}

function firstOf(part) {
  return part.vconcat && !part.columns ? firstOf(part.vconcat[0]) : part;
}

// Data stand by column in the page; a chart reads rows.
function rowsOf({ length, same, lists }) {
  return Array.from({ length }, (_, place) => {
    const row = { ...same };
    for (const name of Object.keys(lists)) row[name] = lists[name][place];
    return row;
  });
}

function datasetsOf(name) {
  const sets = Object.entries(specifications[name].datasets);
  return Object.fromEntries(sets.map(([key, columns]) => [key, rowsOf(columns)]));
}

// Small multiples by a column of which one value is picked become one chart of full size.
function enlarged(part, picked) {
  if (part.vconcat) return { ...part, vconcat: part.vconcat.map((view) => enlarged(view, picked)) };
  if (!part.facet || !(part.facet.field in picked)) return part;
  const { facet, spec, columns, spacing, ...rest } = part;
  return { ...rest, ...spec, width: 640, height: 300 };
}

// What is to be drawn of a figure: the rows that its pickers leave.
function chosen(name) {
  const { pickers, datasets, ...rest } = specifications[name];
  const selects = [...document.querySelectorAll(`[data-pickers="${name}"] select`)];
  const picked = Object.fromEntries(selects.filter((each) => each.value !== "").map((each) => [each.dataset.column, each.value]));
  const wanted = (row) => Object.entries(picked).every(([column, value]) => row[column] == null || String(row[column]) === value);
  const kept = Object.entries(datasetsOf(name)).map(([key, rows]) => [key, rows.filter(wanted)]);
  return { ...enlarged(rest, picked), datasets: Object.fromEntries(kept) };
}

// The page's policy forbids scripts to make code of texts and to add style sheets: Vega interprets its
// expressions (`ast`), and what its own sheets would say is in style.css.
const embedding = { renderer: "svg", actions: false, ast: true, defaultStyle: false, tooltip: { disableDefaultStyle: true } };

// Draws with a guess of what axes take, sees how wide that came out, and draws again if it was off.
async function embed(element, specification, room, look) {
  let axes = 60;
  let drawing;
  for (let attempt = 0; attempt < 3; attempt += 1) {
    const spec = fitted(specification, room, axes);
    const config = { ...(spec.config ?? {}), ...look };
    drawing?.finalize();
    drawing = await window.vegaEmbed(element, { ...spec, config }, embedding);
    const excess = element.querySelector("svg").getBoundingClientRect().width - room;
    if (excess <= 0 && excess > -8) break;
    axes += excess / (firstOf(spec).facet ? 1 : columnsOf(spec)) + 1;
  }
  return drawing;
}

const drawn = new Map();
const turns = new Map();

// Drawings of one chart follow each other, so that the last one asked for stays.
function draw(element) {
  element.dataset.drawn = "yes";
  const turn = (turns.get(element) ?? Promise.resolve()).then(() => drawNow(element));
  turns.set(element, turn);
  return turn;
}

async function drawNow(element) {
  const specification = chosen(element.dataset.figure);
  const single = columnsOf(specification) === 1 && !specification.vconcat;
  const room = Math.min(element.clientWidth - 2, single ? 720 : Infinity);
  drawn.get(element)?.finalize();
  drawn.set(element, await embed(element, specification, room, screenTheme()));
}

const charts = [...document.querySelectorAll(".chart")];
const isHidden = (chart) => chart.closest("figure").hidden;
const drawIfNot = (chart) => (chart.dataset.drawn || isHidden(chart) ? undefined : draw(chart));
const redraw = (which) => charts.filter(which).forEach((chart) => (isHidden(chart) ? delete chart.dataset.drawn : draw(chart)));

// Figures of one panel share a place: one is shown, the others are hidden.
const panels = [...document.querySelectorAll("[data-panel]")];

function show(panel, name) {
  panel.value = name;
  [...panel.options].forEach(({ value }) => { document.getElementById(value).hidden = value !== name; });
  charts.filter((chart) => chart.dataset.figure === name).forEach(drawIfNot);
}

// A picker for each column that a figure lets the reader choose; its link keeps the choice.
function addPickers(box) {
  const name = box.dataset.pickers;
  for (const { column, title, values, first, every } of specifications[name].pickers) {
    const label = document.createElement("label");
    const select = document.createElement("select");
    select.dataset.column = column;
    if (every) select.append(new Option(every, ""));
    for (const { value, text } of values) select.append(new Option(text, String(value)));
    select.value = first === null ? "" : String(first);
    select.addEventListener("change", () => {
      const settings = [...box.querySelectorAll("select")].map((each) => `&${each.dataset.column}=${encodeURIComponent(each.value)}`);
      document.querySelector(`#${name} .anchor`).href = `#${name}${settings.join("")}`;
      redraw((chart) => chart.dataset.figure === name);
    });
    label.append(`${title} `, select);
    box.append(label);
  }
}

// Follows a link such as #fig14_theory_kl&block=3 to its figure, also where another one of its panel is shown.
function follow() {
  const [name, ...settings] = decodeURIComponent(window.location.hash.slice(1)).split("&");
  const target = document.getElementById(name);
  if (!target) return;
  for (const setting of settings) {
    const [column, value] = setting.split("=");
    const select = document.querySelector(`[data-pickers="${name}"] [data-column="${CSS.escape(column)}"]`);
    if (select && [...select.options].some((option) => option.value === value)) select.value = value;
  }
  const panel = panels.find((each) => [...each.options].some((option) => option.value === name));
  if (panel) show(panel, name);
  if (settings.length) redraw((chart) => chart.dataset.figure === name);
  target.scrollIntoView();
}

document.querySelectorAll("[data-pickers]").forEach(addPickers);
panels.forEach((panel) => {
  show(panel, panel.options[0].value);
  panel.addEventListener("change", () => show(panel, panel.value));
});
window.addEventListener("hashchange", follow);
if (window.location.hash) follow();

const nearby = new IntersectionObserver((entries) => {
  entries.filter((entry) => entry.isIntersecting).forEach((entry) => drawIfNot(entry.target));
}, { rootMargin: "1200px" });
charts.forEach((chart) => nearby.observe(chart));

// The rest when there is nothing else to do, so that the page prints whole.
const idle = window.requestIdleCallback ?? ((work) => setTimeout(work, 200));
const drawNext = async () => {
  const next = charts.find((chart) => !chart.dataset.drawn && !isHidden(chart));
  if (!next) return;
  await draw(next);
  idle(drawNext);
};
window.addEventListener("load", () => idle(drawNext));
window.addEventListener("beforeprint", () => charts.forEach(drawIfNot));

dark.addEventListener("change", () => redraw((chart) => chart.dataset.drawn));
let width = document.body.clientWidth;
let resized;
window.addEventListener("resize", () => {
  clearTimeout(resized);
  resized = setTimeout(() => {
    if (document.body.clientWidth === width) return;
    width = document.body.clientWidth;
    redraw((chart) => chart.dataset.drawn);
  }, 200);
});

function csv(rows) {
  const columns = [...new Set(rows.flatMap(Object.keys))];
  const cell = (value) => (value === null || value === undefined ? "" : `"${String(value).replaceAll('"', '""')}"`);
  return [columns, ...rows.map((row) => columns.map((column) => row[column]))]
    .map((row) => row.map(cell).join(",")).join("\n") + "\n";
}

// The chart as it is picked now, in black on white and as wide as two columns of a journal.
async function printed(name, use) {
  const element = document.createElement("div");
  element.className = "aside";
  document.body.append(element);
  const drawing = await embed(element, chosen(name), PRINT_WIDTH, theme(PRINT));
  const made = await use(drawing.view);
  drawing.finalize();
  element.remove();
  return made;
}

const downloads = {
  csv: (name) => new Blob([csv(Object.values(datasetsOf(name)).flat())], { type: "text/csv" }),
  sql: (name) => new Blob([document.querySelector(`[data-query="${name}"]`).textContent], { type: "application/sql" }),
  svg: (name) => printed(name, async (view) => new Blob([await view.toSVG()], { type: "image/svg+xml" })),
  png: (name) => printed(name, async (view) => {
    const canvas = await view.toCanvas(3);
    return new Promise((done) => { canvas.toBlob(done, "image/png"); });
  }),
};

document.querySelectorAll("[data-download]").forEach((button) => button.addEventListener("click", async () => {
  const { of: name, download: kind } = button.dataset;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await downloads[kind](name));
  link.download = `${name}.${kind}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}));
