// Shows the items of one task and variant. Every text is set as text, so that none becomes an element.

const tasks = JSON.parse(document.getElementById("data").textContent);
const form = document.querySelector("form");
const list = document.getElementById("items");

function made(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

function fill(select, entries) {
  const kept = select.value;
  select.replaceChildren(
    ...entries.map(([value, text]) => {
      const option = made("option", text);
      option.value = value;
      return option;
    }),
  );
  if (entries.some(([value]) => value === kept)) select.value = kept;
}

function percent(outcome) {
  return `${Math.round(100 * outcome)} %`;
}

function answer(who, { response, outcome }) {
  const part = made("div", undefined, "answer");
  part.append(made("b", `${who}, ${percent(outcome)}`), made("pre", response === "" ? "(empty)" : response));
  return part;
}

function article(entry, variant) {
  const shown = made("article");
  shown.append(made("h3", `${entry.name} item ${entry.item}`.trim()));
  const prompt = made("details");
  prompt.append(made("summary", entry.context.trim().replace(/\s+/g, " ").slice(-200)), made("pre", entry.context));
  shown.append(prompt);
  if (entry.options) {
    const options = made("ul");
    options.append(...entry.options.map((option) => made("li", option, option === entry.target ? "strong" : "")));
    shown.append(options);
  }
  const answers = made("div", undefined, "answers");
  answers.append(answer("right answer", { response: entry.target, outcome: 1 }));
  answers.append(answer("dense", entry.dense), answer(variant, entry.variants[variant]));
  shown.append(answers);
  return shown;
}

function show() {
  const task = tasks[Number(form.task.value)];
  fill(form.variant, [...new Set(task.items.flatMap((entry) => Object.keys(entry.variants)))].sort().map((name) => [name, name]));
  const variant = form.variant.value;
  const sign = form.change.value === "worse" ? -1 : 1;
  const chosen = task.items.filter(
    (entry) => variant in entry.variants && sign * (entry.variants[variant].outcome - entry.dense.outcome) > 0,
  );
  document.getElementById("count").textContent =
    `${chosen.length} of ${task.asked} items` + (task.left_out ? `; ${task.left_out} further changed items of this task are left out` : "");
  list.replaceChildren(...chosen.map((entry) => article(entry, variant)));
}

fill(form.task, tasks.map((task, place) => [String(place), `${task.task} (${task.model}, suite ${task.suite})`]));
form.addEventListener("change", show);
form.addEventListener("submit", (event) => event.preventDefault());
if (tasks.length) show();
else document.getElementById("count").textContent = "No variant answers an item better or worse than dense.";
