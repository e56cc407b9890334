// Reading the document, and putting the parts together.

async function readData() {
  const packed = atob(document.getElementById("data").textContent);
  const bytes = new Uint8Array(packed.length);
  for (let place = 0; place < packed.length; place++) bytes[place] = packed.charCodeAt(place);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

/** Go to a section by its id, the keyboard too. */
function goTo(id) {
  const heading = document.querySelector(`#${id} h2`);
  heading.scrollIntoView();
  heading.focus({ preventScroll: true });
}

function addSection(id, title, nodes) {
  const heading = element("h2", { tabindex: "-1" }, title);
  document.getElementById("content").append(element("section", { id, "aria-label": title }, heading, nodes));
  document.getElementById("sections").append(element("li", {}, element("a", { href: `#${id}` }, title)));
}

function build(data) {
  const tensors = readTensors(data.tensors);
  const findingsOf = new Map(); // row of a tensor -> places of the findings about it
  data.findings.forEach((finding, place) => {
    for (const row of finding.rows) {
      const known = findingsOf.get(row);
      if (known) known.push(place);
      else findingsOf.set(row, [place]);
    }
  });
  document.getElementById("content").append(...factNodes(data).filter(Boolean));
  addSection("findings", "Findings", findingList.nodes(data));
  if (data.matrix) addSection("engines", "Engines", engineNodes(data));
  const charts = data.charts.map(chartNodes);
  const figures = charts.flatMap((chart) => chart.figures);
  if (data.comparison) addSection("comparison", "Comparison", comparisonNodes(data));
  const undrawn = data.undrawn ? element("p", {}, `The scales of ${plural(data.undrawn, "module")} in groups (${shown(data.summary.scheme ?? "not FP8")}) are read and drawn with --level full.`) : null;
  const nothing = data.level === "headers" ? "Nothing is drawn: scales were not read. --level scales or full reads them." : "Nothing is drawn: no scales that ckptkit reads are stored here.";
  const words = charts.length ? "One picture for each kind of module, layers from left to right; all pictures of a measure have one scale. Arrow keys move through layers, Enter or a click shows a layer's tensors." : nothing;
  addSection("charts", "By layer", [charts.length || !undrawn ? element("p", { class: "dim" }, words) : null, charts.map((chart) => chart.node), undrawn]);
  if (data.conversion) addSection("conversion", "Conversion", conversionNodes(data));
  addSection("sizes", "Sizes", sizeNodes(data));
  if (data.skip_lists?.rows.length) addSection("skips", "Skip lists", skipNodes(data));
  const list = tensorSection(data, tensors, findingsOf);
  addSection("tensors", "Tensors", list.nodes);
  filter.listeners.push(() => showFiltered(tensors.total, list, figures));
}

/** Hide what the filter turns down, and say how much is left. */
function showFiltered(total, list, figures) {
  const words = [`${count(list.found())} of ${plural(total, "tensor")}`];
  const left = findingList.filtered();
  if (findingList.items.length) words.push(`${count(left)} of ${plural(findingList.items.length, "finding")}`);
  for (const figure of figures) figure.hidden = !filter.holdsKind(figure.text);
  const pictures = figures.filter((figure) => !figure.hidden).length;
  if (figures.length) words.push(`${count(pictures)} of ${plural(figures.length, "chart")}`);
  const status = document.getElementById("filtered");
  if (!filter.active) {
    status.replaceChildren();
    return;
  }
  const about = filter.rows === null ? "" : `Tensors of ${filter.label}: `;
  status.replaceChildren(`${about}${words.join(", ")}`, element("button", { type: "button", onclick: clearFilter }, "Show all"));
}

function clearFilter() {
  const input = document.getElementById("filter");
  input.value = "";
  filter.rows = null;
  filter.set("");
  input.focus();
}

function listen() {
  const input = document.getElementById("filter");
  let timer = 0;
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => filter.set(input.value), 120);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && event.target !== input) {
      event.preventDefault();
      input.focus();
    } else if (event.key === "Escape" && filter.active) clearFilter();
  });
  const theme = document.getElementById("theme");
  const themes = ["auto", "light", "dark"];
  let chosen = 0;
  theme.addEventListener("click", () => {
    chosen = (chosen + 1) % themes.length;
    document.documentElement.dataset.theme = themes[chosen];
    theme.textContent = `Theme: ${themes[chosen]}`;
    redraw(false);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw(false));
  addEventListener("beforeprint", () => {
    document.documentElement.classList.add("printing");
    redraw(true);
  });
  addEventListener("afterprint", () => {
    document.documentElement.classList.remove("printing");
    redraw(false);
  });
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) redraw(false);
    width = innerWidth;
  });
}

readData().then((data) => {
  build(data);
  listen();
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
}).catch((error) => {
  document.getElementById("content").append(element("p", { role: "alert" },
    `This page could not be drawn: ${error.message}. It needs a browser of 2024 or later.`));
  throw error;
});
