// What was measured, by layer: a small picture for each kind of module, all of a measure with one scale.

const MEASURES = {
  "relative error": {
    title: "Error of each weight",
    words: "The norm of the difference over the norm of the base. Rounding to E4M3 alone makes about 0.026.",
    share: false, log: false,
  },
  "weight scale": {
    title: "Scales of weights",
    words: "From the smallest to the largest scale of a layer. One layer that stands out was quantized otherwise, or holds outliers.",
    share: false, log: true,
  },
  "input scale": {
    title: "Scales of inputs",
    words: "Static scales of activations, as calibration left them.",
    share: false, log: true,
  },
  "KV-cache scale": {
    title: "Scales of the KV cache",
    words: "Static scales of keys and values, and of queries where they are stored.",
    share: false, log: true,
  },
  "group scale": {
    title: "Scales of groups",
    words: "Of modules that are not FP8 (NVFP4, MXFP4, MXFP8, INT8): the smallest and the largest scale of a layer, times the one scale of these scales where there is one.",
    share: false, log: true,
  },
  "saturated share": {
    title: "Codes at the end of the range",
    words: "Share of FP8 codes that are the largest there is, counted in an eighth of the bytes. Many of them mean that scales were too small.",
    share: true, log: false,
  },
  "all-zero share": {
    title: "Rows and blocks of zeros",
    words: "Share of rows, blocks or tensors (whatever has one scale) in which every code is zero.",
    share: true, log: false,
  },
};

const drawn = new Map(); // figure -> what draws it anew
const waiting = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) drawFigure(entry.target);
}, { rootMargin: "400px" });

/** Numbers in words of a measure. */
function valueWords(measure, value) {
  return MEASURES[measure].share ? percent(value) : digits(value, 3);
}

function rangeWords(measure, low, high) {
  return low === high ? valueWords(measure, low) : `${valueWords(measure, low)} to ${valueWords(measure, high)}`;
}

function chartNodes(chart) {
  const about = MEASURES[chart.measure];
  const figures = chart.panels.map((panel) => panelFigure(chart, panel, commonEnds(chart.panels)));
  const omitted = chart.omitted ? element("p", { class: "dim" }, `${plural(chart.omitted, "more kind")} of modules not drawn.`) : null;
  return {
    figures,
    node: element("div", {}, element("h3", {}, about.title), element("p", { class: "dim" }, about.words),
      element("div", { class: "panels" }, figures), omitted,
      details("The same as numbers", () => numbersOf(chart, about.title))),
  };
}

/** All that the pictures of a chart show but the single layers. */
function numbersOf(chart, title) {
  const rows = chart.panels.map((panel) => {
    const high = Math.max(...panel.high);
    return [nameOf(panel.kind), count(panel.counts.reduce((sum, n) => sum + n, 0)),
      valueWords(chart.measure, Math.min(...panel.low)), valueWords(chart.measure, high),
      String(panel.layers[panel.high.indexOf(high)])];
  });
  for (const one of chart.alone) {
    rows.push([nameOf(one.name), "1", valueWords(chart.measure, one.low), valueWords(chart.measure, one.high), "–"]);
  }
  const headings = [["Module", ""], ["Count", "number"], ["Lowest", "number"], ["Highest", "number"], ["Highest in layer", "number"]];
  return table(`${title}, over all layers`, headings, rows);
}

/** What all kinds of a chart begin with, up to a dot: it says nothing there. */
function commonEnds(panels) {
  const first = panels[0].kind.split(".");
  let shared = 0;
  while (shared < first.length - 1 && panels.every((panel) => panel.kind.split(".")[shared] === first[shared])) shared++;
  return shared;
}

/** A picture that arrow keys walk through, layer by layer; Enter and clicks filter for the layer's tensors. */
function panelFigure(chart, panel, shared) {
  const short = panel.kind.split(".").slice(shared).join(".");
  const readout = element("p", { class: "readout", "aria-hidden": "true" });
  const last = panel.layers.length - 1;
  const plot = element("div", {
    class: "plot", tabindex: "0", role: "slider", "aria-label": `${shown(panel.kind)}, ${chart.measure} by layer`,
    "aria-valuemin": panel.layers[0], "aria-valuemax": panel.layers[last], "aria-orientation": "horizontal",
  });
  const figure = element("figure", {}, element("figcaption", {}, nameOf(short, { title: shown(panel.kind) })), plot, readout);
  const whole = `${plural(panel.layers.length, "layer")}, ${rangeWords(chart.measure, Math.min(...panel.low), Math.max(...panel.high))}`;
  const figureState = { at: panel.high.indexOf(Math.max(...panel.high)), plot: null };

  figureState.tell = (place) => {
    if (place === null) {
      readout.textContent = whole;
      return;
    }
    figureState.at = place;
    const many = panel.counts[place] > 1 ? `, ${plural(panel.counts[place], "module")}` : "";
    const words = `layer ${panel.layers[place]}: ${rangeWords(chart.measure, panel.low[place], panel.high[place])}${many}`;
    readout.textContent = words;
    plot.setAttribute("aria-valuenow", panel.layers[place]);
    plot.setAttribute("aria-valuetext", words);
  };
  figureState.tell(figureState.at);
  figureState.tell(null);

  const moves = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10, Home: -Infinity, End: Infinity };
  plot.addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      event.preventDefault();
      filterForLayer(chart, panel, figureState.at);
    } else if (event.key in moves) {
      event.preventDefault();
      const place = Math.max(0, Math.min(last, figureState.at + moves[event.key]));
      figureState.tell(place);
      const drawing = figureState.plot;
      if (drawing) drawing.setCursor({ left: drawing.valToPos(panel.layers[place], "x"), top: 0 }, false);
    }
  });
  plot.addEventListener("click", () => filterForLayer(chart, panel, figureState.at));
  plot.addEventListener("blur", () => figureState.tell(null));
  drawn.set(figure, () => drawPanel(chart, panel, plot, figureState));
  waiting.observe(figure);
  // Whoever looks for a module's tensors wants its picture too.
  figure.text = ["", ".weight", ".weight_scale", ".input_scale"].map((end) => `${panel.kind}${end}`).join(" ");
  return figure;
}

/** Show the tensors behind a point. Scales of the KV cache are called otherwise by some formats: there the module counts. */
function filterForLayer(chart, panel, place) {
  const kind = chart.measure === "KV-cache scale" ? panel.kind.replace(/[^.]*$/, "") : panel.kind;
  const input = document.getElementById("filter");
  input.value = kind.replace("*", panel.layers[place]);
  filter.set(input.value);
  goTo("tensors");
}

function drawFigure(figure) {
  const draw = drawn.get(figure);
  if (draw) draw();
  waiting.unobserve(figure);
}

/** Draw everything again, as a change of theme wants it, or printing. */
function redraw(everything) {
  for (const [figure, draw] of drawn) if (everything || figure.querySelector("canvas")) draw();
}

/** A colour of the style sheet as the canvas needs it: in numbers. */
function colour(name) {
  const probe = element("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function drawPanel(chart, panel, place, figureState) {
  figureState.plot?.destroy();
  const { log } = MEASURES[chart.measure];
  const up = log ? Math.log10 : (value) => value;
  const [low, high] = extent(chart, log);
  const ticks = log ? logTicks(low, high) : evenTicks(low, high);
  const [ink, dim, line, band] = ["accent", "dim", "line", "band"].map(colour);
  const font = `11px ${getComputedStyle(document.body).fontFamily}`;
  const text = (value) => (MEASURES[chart.measure].share ? `${digits(100 * value, 2)}%` : digits(value, 2));
  const width = Math.max(120, place.clientWidth);
  const alone = panel.layers.length === 1;
  figureState.plot = new uPlot({
    width, height: place.clientHeight, legend: { show: false }, padding: [6, 6, 0, 0],
    cursor: { y: false, drag: { setScale: false, x: false, y: false }, sync: { key: chart.measure }, points: { size: 6 } },
    scales: {
      x: { time: false, range: () => (alone ? [panel.layers[0] - 1, panel.layers[0] + 1] : [panel.layers[0], panel.layers.at(-1)]) },
      y: { range: () => [up(low), up(high)] },
    },
    axes: [
      { stroke: dim, font, size: 20, gap: 2, grid: { show: false }, ticks: { stroke: line, size: 3 }, space: 34, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000],
        values: (_, found) => found.map((layer) => (alone && layer !== panel.layers[0] ? "" : String(layer))) },
      { stroke: dim, font, size: 52, gap: 4, grid: { stroke: line, width: 1 }, ticks: { show: false },
        splits: () => ticks.map(up), values: () => ticks.map(text) },
    ],
    bands: [{ series: [1, 2], fill: band }],
    series: [{}, curve(ink, 1.5, panel), curve(ink, 1, panel)],
    hooks: { setCursor: [(drawing) => { const at = drawing.cursor.idx; if (at !== null && at !== undefined) figureState.tell(at); else if (document.activeElement !== place) figureState.tell(null); }] },
  }, [panel.layers, panel.high.map(up), panel.low.map(up)], place);
}

function curve(stroke, width, panel) {
  return { stroke, width, points: { show: panel.layers.length < 12, size: 4, fill: stroke } };
}

/** The range that all panels of a chart share, with a little air. */
function extent(chart, log) {
  let low = Infinity;
  let high = -Infinity;
  for (const panel of chart.panels) {
    for (const value of panel.low) low = Math.min(low, value);
    for (const value of panel.high) high = Math.max(high, value);
  }
  if (!log) return [0, high > 0 ? high * 1.08 : 1];
  const air = Math.max(1.15, (high / low) ** 0.06);
  return high / low < 2 ? [low / 1.5, high * 1.5] : [low / air, high * air];
}

/** At most four of the numbers 1, 2 and 5 times powers of ten, within a range. */
function logTicks(low, high) {
  const decades = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) decades.push(power);
  const inside = (values) => values.filter((value) => value >= low && value <= high);
  for (const steps of [[1, 2, 5], [1, 3], [1]]) {
    const found = inside(decades.flatMap((power) => steps.map((step) => Number(`${step}e${power}`))));
    if (found.length <= 4 && found.length > 1) return found;
  }
  const tens = inside(decades.map((power) => Number(`1e${power}`)));
  if (tens.length < 2) return [low, Math.sqrt(low * high), high].map((value) => Number(value.toPrecision(2)));
  const every = Math.ceil(tens.length / 4);
  return tens.filter((_, place) => place % every === 0);
}

/** Three or four round numbers from zero up. */
function evenTicks(low, high) {
  const step = [1, 2, 2.5, 5, 10].map((unit) => unit * 10 ** Math.floor(Math.log10(high / 3))).find((one) => high / one < 4);
  const found = [];
  for (let value = low; value <= high; value += step) found.push(Number(value.toPrecision(6)));
  return found;
}
