// The parts of the page but charts and tensors: each takes its part of the document and gives nodes.

const SEVERITIES = { error: "error", warning: "warning", info: "note" };
const SHOWN_OF_A_RULE = 3;
const VERDICTS = {
  loads: ["good", "\u2713"], slow: ["warning", "\u2713"], warns: ["warning", "!"], unknown: ["none", "?"],
  "silently wrong": ["error", "\u2715"], refuses: ["error", "\u2715"], "does not read": ["none", "\u2013"],
  "not judged": ["none", "\u2013"],
};

function badge(kind, text, sign) {
  return element("span", { class: `badge ${kind}` }, sign ? element("span", { "aria-hidden": "true" }, `${sign} `) : null, text);
}

/** Labels and what stands behind them; pairs without an answer are left out. */
function facts(pairs, kind) {
  const known = pairs.filter(([, answer]) => answer !== null && answer !== undefined && answer !== "");
  return element("dl", { class: kind }, known.flatMap(([label, answer]) => [element("dt", {}, label), element("dd", {}, answer)]));
}

function factNodes(data) {
  const { summary } = data;
  const format = summary.format ? `${summary.format} (${summary.dialect})` : summary.what;
  const original = summary.original_bytes ? `, ${size(summary.original_bytes)} in 16 bits (ratio ${digits(summary.ratio, 2)})` : "";
  const levels = { headers: "headers and config", scales: "headers, config and every scale", full: "every byte" };
  return [
    facts([
      ["Quantization", shown(summary.scheme ?? summary.quantization)],
      ["Format", shown(format)],
      ["Architecture", summary.architecture && shown(summary.architecture)],
      ["Size", `${size(summary.data_bytes)}${original}`],
      ["Tensors", `${count(summary.tensors)} in ${plural(summary.shards, "shard")}`],
      ["Parameters", summary.parameters === null ? "unknown" : count(summary.parameters)],
      ["Read", levels[data.level]],
      ["Settings", data.settings.map(shown).join(", ")],
      ["Hidden", data.hidden ? `${plural(data.hidden, "finding")}, by the checkpoint's own settings` : null],
      ["Path", nameOf(data.path)],
    ], "facts"),
    summary.notes.length ? element("ul", {}, summary.notes.map((note) => element("li", {}, shown(note)))) : null,
  ];
}

function findingId(place) {
  return `finding-${place + 1}`;
}

/** A link to a finding, which may have to be made first. */
function findingLink(finding, place) {
  return element("a", { href: `#${findingId(place)}`, class: finding.severity, title: shown(finding.message),
    onclick: () => findingList.reveal(place) }, finding.code);
}

/** The findings by rule: the first few of each, and the others when they are asked for. */
const findingList = {
  items: [], // for each finding its words for the filter, and its node once there is one
  rest: new Map(), // the place of a finding that is not shown at first -> what shows it

  nodes(data) {
    const { findings } = data;
    if (!findings.length) return [element("p", {}, "Nothing was found.")];
    this.items = findings.map((finding) => ({
      text: [finding.code, finding.name, finding.message, aboutAll(finding), finding.file].join(" "), node: null,
    }));
    const codes = [...new Set(findings.map((finding) => finding.code))];
    return codes.flatMap((code) => this.ofRule(code, findings));
  },

  ofRule(code, findings) {
    const places = [...findings.keys()].filter((place) => findings[place].code === code);
    const list = (some) => element("ol", { class: "findings" }, some.map((place) => {
      this.items[place].node = findingItem(findings[place], place);
      return this.items[place].node;
    }));
    const first = list(places.slice(0, SHOWN_OF_A_RULE));
    const others = places.slice(SHOWN_OF_A_RULE);
    if (!others.length) return [first];
    const more = details(`${count(others.length)} more of ${code}`, () => list(others));
    for (const place of others) this.rest.set(place, more);
    return [first, more];
  },

  reveal(place) {
    const more = this.rest.get(place);
    if (more) more.fill().open = true;
    this.items[place].node.hidden = false;
  },

  /** Hide what the filter turns down; how many findings are left. */
  filtered() {
    let left = 0;
    for (const { text, node } of this.items) {
      const kept = filter.rows !== null || filter.holdsKind(text);
      if (node) node.hidden = !kept;
      if (kept) left++;
    }
    return left;
  },
};

/** What a finding is about: of several that differ in numbers only, a name with stars for these. */
function aboutAll(finding) {
  if (finding.count === 1 || !finding.tensor) return finding.tensor;
  return finding.tensor.split(".").map((part) => (/^\d+$/.test(part) ? "*" : part)).join(".");
}

function findingItem(finding, place) {
  const more = finding.count > 1 ? element("span", { class: "dim" }, ` and ${count(finding.count - 1)} like it`) : null;
  const where = [finding.file, finding.tensor].filter(Boolean).map((text) => nameOf(text));
  const rows = finding.rows.length
    ? element("button", { type: "button", onclick: () => {
        filter.only(new Set(finding.rows), `${finding.code} ${finding.name}`);
        goTo("tensors");
      } }, `Show ${finding.rows.length === 1 ? "its tensor" : `its ${count(finding.rows.length)} tensors`}`)
    : null;
  const fix = finding.fix && [element("code", {}, shown(finding.fix.command)),
    finding.fix.findings < finding.count ? ` (${count(finding.fix.findings)} of ${count(finding.count)})` : null];
  return element("li", { id: findingId(place), tabindex: "-1" },
    element("p", { class: "message" }, badge(finding.severity, SEVERITIES[finding.severity]), " ", finding.code, " ", shown(finding.message)),
    where.length ? element("p", {}, separated(where), more) : more && element("p", {}, more),
    facts([
      ["Expected", finding.expected && shown(finding.expected)], ["Found", finding.found && shown(finding.found)],
      ["To do", finding.help && shown(finding.help)], ["Engines", finding.consequences], ["Fix", fix],
      ["Rule", `${finding.name}: ${finding.rule}`],
    ]), rows);
}

function engineNodes(data) {
  const asked = data.matrix.some((row) => row.parallel.length);
  const headings = [["Engine", "tight"], ["Verdict", "tight"], ...(asked ? [["Tensor parallel", "tight"]] : []), ["Because of", "prose"]];
  const rows = data.matrix.map((row) => {
    const [kind, sign] = VERDICTS[row.verdict] ?? ["none", "?"];
    const reasons = row.note ? [shown(row.note)] : [
      ...Object.entries(row.codes).map(([outcome, codes]) =>
        element("span", {}, `${outcome}: `, separated(codes.map((code) => codeLink(data, code))))),
      ...Object.entries(row.parts).flatMap(([answer, parts]) => parts.map((part) => shown(`${answer}: ${part}`))),
    ];
    const sizes = row.parallel.map((one) =>
      badge(one.works ? "good" : "error", `${one.works ? "" : "not "}${one.size}`));
    const obstacles = [...new Set(row.parallel.flatMap((one) => one.obstacles.slice(0, 3).map((text) => `${one.size} devices: ${text}`)))];
    return [
      [row.label, " ", element("span", { class: "dim" }, row.version)], badge(kind, row.verdict, sign),
      ...(asked ? [sizes.flatMap((one) => [one, " "])] : []),
      [reasons.map((reason) => element("div", {}, reason)), obstacles.map((text) => element("div", { class: "dim" }, shown(text)))],
    ];
  });
  return [table("What each engine makes of it, by its findings and by what is known of the engine", headings, rows)];
}

/** A rule's code, with a link to its first finding where there is one. */
function codeLink(data, code) {
  const place = data.findings.findIndex((finding) => finding.code === code);
  return place < 0 ? code : findingLink(data.findings[place], place);
}

function sizeNodes(data) {
  const { summary, tensors } = data;
  const types = Object.entries(summary.bytes_by_dtype);
  const parts = types.slice(0, 5).map(([name, bytes]) => [name, bytes, `${size(bytes)} in ${plural(summary.tensors_by_dtype[name], "tensor")}`]);
  const rest = types.slice(5).reduce((sum, [, bytes]) => sum + bytes, 0);
  if (rest) parts.push(["others", rest, size(rest)]);
  const grouped = new Map();
  for (const kind of tensors.kinds) {
    const key = kindName(kind);
    const known = grouped.get(key) ?? { count: 0, bytes: 0, largest: kind };
    known.count += kind.count;
    known.bytes += kind.count * kind.bytes;
    grouped.set(key, known);
  }
  const largest = [...grouped].sort(([, a], [, b]) => b.bytes - a.bytes);
  const whole = summary.data_bytes || 1;
  const most = largest[0]?.[1].bytes || 1;
  const rows = largest.slice(0, 15).map(([name, known]) => [
    nameOf(name), count(known.count), known.largest.dtype, shapeOf(known.largest.shape), size(known.bytes), percent(known.bytes / whole), measureBar(known.bytes / most),
  ]);
  const headings = [["Tensors", ""], ["Count", "number"], ["Type", "tight"], ["Shape", "number"], ["Size", "number"], ["Share", "number"], [element("span", { class: "sr" }, "Share as a bar"), ""]];
  const beyond = largest.length > 15 ? element("p", { class: "dim" }, `${plural(largest.length - 15, "smaller kind")} not shown; every tensor is below.`) : null;
  const kinds = summary.kinds.map((kind) => [kind.kind, count(kind.tensors), size(kind.bytes), kind.parameters === null ? "unknown" : count(kind.parameters)]);
  return [
    ...shares(parts),
    table("What tensors are to the model", [["Kind", ""], ["Tensors", "number"], ["Size", "number"], ["Parameters", "number"]], kinds),
    element("h3", {}, "The largest"), table("Tensors that differ in their numbers only, the largest first", headings, rows), beyond,
  ];
}

function skipNodes(data) {
  const { engines, rows, contradictions } = data.skip_lists;
  const marks = { quantized: "quantized", "left alone": "plain", refused: "refuses" };
  const headings = [["Module", ""], ["Count", "number"], ["Stored", "tight"], ...engines.map(({ label }) => [label, "tight"])];
  const made = rows.map((row) => () => [
    nameOf(row.kind), count(row.count), row.stored,
    ...engines.map(({ engine }) => (row.contradicts.includes(engine) ? badge("error", marks[row.decisions[engine]], "\u2715") : marks[row.decisions[engine]])),
  ]);
  const words = contradictions
    ? `${plural(contradictions, "module")} ${contradictions === 1 ? "is" : "are"} stored otherwise than an engine decides.`
    : "Every engine's decision fits what is stored.";
  return [element("p", {}, words), table("Built quantized or left plain, as each engine's own matcher reads the config", headings, made)];
}

function conversionNodes(data) {
  const { plan, refused } = data.conversion;
  if (refused) {
    const faults = refused.faults.slice(0, 50).map((fault) => element("li", {}, separated([fault.file, fault.tensor].filter(Boolean).map((text) => nameOf(text))),
      " ", shown(fault.message), facts([["Expected", fault.expected && shown(fault.expected)], ["Found", fault.found && shown(fault.found)], ["To do", fault.help && shown(fault.help)]], "facts")));
    const beyond = refused.faults.length - faults.length;
    return [element("p", {}, badge("error", "refused", "\u2715"), " ", shown(refused.message)), element("ul", {}, faults),
      beyond > 0 ? element("p", {}, `and ${count(beyond)} more`) : null, refused.help ? element("p", {}, shown(refused.help)) : null];
  }
  const { cost } = plan;
  const lossless = plan.verdict === "lossless";
  const steps = plan.steps.map((step) => flowRow(step.before, `${step.operation}`, step.count, step.after, step.reason));
  if (plan.kept) steps.unshift(flowRow(plural(plan.kept, "tensor"), "kept", plan.kept, "the same bytes, names and types", "", "kept"));
  const list = (title, lines) => (lines.length ? [element("h3", {}, title), element("ul", {}, lines.map((line) => element("li", {}, shown(line))))] : []);
  return [
    element("p", {}, `${shown(plan.source_format)} \u2192 ${shown(plan.target_format)}: `, badge(lossless ? "good" : "warning", plan.verdict), ` ${cost.kind}, ${plural(cost.files, "file")}`),
    ...shares([["copied as they are", cost.bytes_copied, size(cost.bytes_copied)], ["headers and config", cost.bytes_rewritten, size(cost.bytes_rewritten)], ["computed", cost.bytes_computed, size(cost.bytes_computed)]].filter(([, bytes]) => bytes)),
    element("ol", { class: "flow" }, steps),
    ...list("What changes", plan.changes), ...list("What is given up", plan.gives_up), ...list("Notes", plan.notes),
  ];
}

/** One step of a conversion: from, an arrow as thick as there are tensors, to, and why. */
function flowRow(before, operation, tensors, after, reason, kind) {
  const space = "http://www.w3.org/2000/svg";
  const arrow = document.createElementNS(space, "svg");
  arrow.setAttribute("viewBox", "0 0 160 14");
  arrow.setAttribute("preserveAspectRatio", "none");
  arrow.setAttribute("aria-hidden", "true");
  const shaft = Math.min(8, 1 + Math.log2(1 + Number(String(tensors).replaceAll(",", ""))) * 0.6);
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", `M0 ${7 - shaft / 2}H146V0L160 7L146 14V${7 + shaft / 2}H0Z`);
  path.setAttribute("fill", "currentColor");
  arrow.append(path);
  return element("li", { class: kind }, element("div", { class: "box" }, nameOf(before)),
    element("div", { class: "arrow" }, `${tensors} \u00d7 ${operation}`, arrow), element("div", { class: "box" }, nameOf(after)),
    reason ? element("p", { class: "reason" }, shown(reason)) : null);
}

function comparisonNodes(data) {
  const { comparison } = data;
  const { errors } = comparison;
  const against = element("p", {}, "Beside ", nameOf(comparison.left), ": ",
    comparison.same ? badge("good", "the same model", "\u2713") : badge("warning", plural(comparison.differences_in_all, "difference")),
    ` ${plural(comparison.modules, "quantized module")}, ${size(comparison.bytes_compared)} compared.`);
  const nodes = [against];
  if (errors && errors.weights.length) {
    const total = errors.total;
    nodes.push(element("p", {}, `${plural(errors.weights_in_all, "weight")} differ in value: error ${digits(total.relative_error, 3)}, SNR ${digits(total.snr_db, 3)} dB. ${plural(errors.equal, "other")} ${errors.equal === 1 ? "is" : "are"} equal.`));
    const headings = (first) => [[first, ""], ["Weights", "number"], ["Error", "number"], ["SNR dB", "number"], ["Clipped", "number"], ["Dead rows", "number"]];
    const numbers = (one) => [digits(one.relative_error, 3), digits(one.snr_db, 3), percent(one.clipped_share), count(one.dead_rows)];
    nodes.push(table("By kind of weight, the worst first", headings("Kind"), errors.kinds.map((kind) => [nameOf(kind.kind), count(kind.weights), ...numbers(kind)])));
    nodes.push(details("Single weights, the worst first", () =>
      table(`The worst ${count(errors.weights.length)} of ${count(errors.weights_in_all)}`, headings("Weight"), errors.weights.map((weight) => [nameOf(weight.name), "1", ...numbers(weight)]))));
  }
  for (const one of errors?.not_measured ?? []) nodes.push(element("p", {}, "Not measured: ", nameOf(one.first), one.count > 1 ? ` and ${count(one.count - 1)} more` : "", `: ${shown(one.reason)}`));
  if (comparison.differences.length) {
    nodes.push(element("h3", {}, "What else differs"));
    nodes.push(table("Differences of one kind once", [["Where", ""], ["What", "tight"], ["There", ""], ["Here", ""], ["Count", "number"]],
      comparison.differences.map((one) => [nameOf(one.subject), shown(one.aspect), shown(one.left), shown(one.right), count(one.count)])));
  }
  nodes.push(...comparison.notes.map((note) => element("p", { class: "dim" }, shown(note))));
  return nodes;
}
