// What every part of the page is made of. Text from the checkpoint becomes text nodes and nothing else.

/** Make an element. Attributes without a value are left out; on* are listeners; children are nodes or texts. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

/** A text from the checkpoint with whatever cannot be seen spelled out: it could hide, or turn round, what stands there. */
function shown(text) {
  return String(text).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
}

/** A name of a tensor, module or file. */
function nameOf(text, attributes = {}) {
  const parts = shown(text).split(".").flatMap((part, place) => (place ? [element("wbr"), `.${part}`] : [part]));
  return element("bdi", { class: "name", ...attributes }, parts);
}

function count(number) {
  return number.toLocaleString("en-US");
}

function plural(number, word) {
  return `${count(number)} ${word}${number === 1 ? "" : "s"}`;
}

/** Bytes for people, with three digits. */
function size(bytes) {
  let value = bytes;
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (value < 1024) return unit === "B" ? `${value} B` : `${digits(value, 3)} ${unit}`;
    value /= 1024;
  }
  return `${digits(value, 3)} TiB`;
}

/** A number with so many digits that count, and no more zeros than it needs. */
function digits(value, wanted) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const large = Math.abs(value);
  if (large < 1e-4 || large >= 1e6) return value.toExponential(wanted - 1).replace(/\.?0*e/, "e").replace("e+", "e");
  return String(Number(value.toPrecision(wanted)));
}

function percent(share) {
  if (share === null || share === undefined) return "–";
  if (share > 0 && share < 1e-4) return "<0.01%";
  return share === 0 ? "0" : `${digits(100 * share, 2)}%`;
}

/** Rows that a table shows at first. */
const FIRST_ROWS = 100;

/**
 * A table from headings [text, class] and rows. A row is a list of cells, or makes one; a cell is a node, a text or a
 * list, and the first names its row. Of many rows the first are shown, and the others on request.
 */
function table(caption, headings, rows) {
  const head = headings.map(([text, kind]) => element("th", { scope: "col", class: kind }, text));
  const line = (row) => element("tr", {}, (typeof row === "function" ? row() : row).map((cell, column) =>
    element(column ? "td" : "th", { scope: column ? null : "row", class: headings[column][1] }, cell)));
  const body = element("tbody", {}, rows.slice(0, FIRST_ROWS).map(line));
  const made = element("table", {}, element("caption", {}, caption), element("thead", {}, element("tr", {}, head)), body);
  const scroll = element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, made);
  if (rows.length <= FIRST_ROWS) return scroll;
  const button = element("button", { type: "button", onclick: () => {
    body.append(...rows.slice(FIRST_ROWS).map(line));
    button.remove();
  } }, `Show all ${count(rows.length)} rows`);
  return element("div", {}, scroll, button);
}

/** Something that is shown on request, and made then. */
function details(summary, make) {
  const made = element("details", { ontoggle: () => made.fill() }, element("summary", {}, summary));
  made.fill = () => {
    if (make) made.append(make());
    make = null;
    return made;
  };
  return made;
}

/** Shares of a whole as one bar and a legend that says the same in words. Parts are [name, amount, words]. */
function shares(parts) {
  const whole = parts.reduce((sum, [, amount]) => sum + amount, 0) || 1;
  const colour = (place) => `part-${Math.min(place + 1, 6)}`;
  const bar = parts.filter(([, amount]) => amount).map((part) => {
    const made = element("span", { class: colour(parts.indexOf(part)) });
    made.style.flexGrow = part[1] / whole;
    return made;
  });
  const legend = parts.map(([name, amount, words], place) =>
    element("li", {}, element("i", { class: colour(place) }), name, " ",
      element("span", { class: "dim" }, `${words}, ${percent(amount / whole)}`)));
  return [element("div", { class: "shares", "aria-hidden": "true" }, bar), element("ul", { class: "legend" }, legend)];
}

/** A bar for one of several amounts, which stand beside it as numbers. */
function measureBar(share) {
  const bar = element("span");
  bar.style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
  return element("div", { class: "measure", "aria-hidden": "true" }, bar);
}
