// Every tensor, fifty at a time. Names are put together from the pieces and numbers of their kinds.

const ROWS = 50;

/** Names, kinds and shards of all tensors by row. */
function readTensors(stored) {
  const total = stored.kinds.reduce((sum, kind) => sum + kind.count, 0);
  const tensors = { total, names: new Array(total), kind: new Uint32Array(total), shard: new Uint32Array(total), stored };
  let row = 0;
  stored.kinds.forEach((kind, place) => {
    const { pieces, numbers } = kind;
    const stride = pieces.length - 1;
    let run = 0;
    let left = kind.shards[1];
    for (let member = 0; member < kind.count; member++, row++) {
      let name = pieces[0];
      for (let piece = 0; piece < stride; piece++) name += numbers[member * stride + piece] + pieces[piece + 1];
      while (left === 0) { run += 2; left = kind.shards[run + 1]; }
      left--;
      tensors.names[row] = name;
      tensors.kind[row] = place;
      tensors.shard[row] = kind.shards[run];
    }
  });
  return tensors;
}

/** A name with stars for the numbers of its kind. */
function kindName(kind) {
  return kind.pieces.join("*");
}

const COLUMNS = [
  ["name", "Name", ""], ["dtype", "Type", "tight"], ["shape", "Shape", "number"], ["bytes", "Bytes", "number"],
  ["shard", "File", ""], ["findings", "Findings", "tight"],
];

function tensorSection(data, tensors, findingsOf) {
  const state = { column: "bytes", down: true, page: 0, rows: [] };
  let lower = null; // the names in lower case, once somebody looks for some
  const kindOf = (row) => tensors.stored.kinds[tensors.kind[row]];
  const keys = {
    name: (a, b) => collator.compare(tensors.names[a], tensors.names[b]),
    dtype: (a, b) => (kindOf(a).dtype < kindOf(b).dtype ? -1 : kindOf(a).dtype > kindOf(b).dtype ? 1 : 0),
    shape: (a, b) => elements(kindOf(a)) - elements(kindOf(b)),
    bytes: (a, b) => kindOf(a).bytes - kindOf(b).bytes,
    shard: (a, b) => tensors.shard[a] - tensors.shard[b],
    findings: (a, b) => (findingsOf.get(a)?.length ?? 0) - (findingsOf.get(b)?.length ?? 0),
  };
  const body = element("tbody");
  const heads = COLUMNS.map(([key, text, kind]) => element("th", { scope: "col", class: kind },
    element("button", { type: "button", onclick: () => sortBy(key) }, text)));
  const words = element("p", { role: "status", "aria-live": "polite" });
  const step = (by) => () => { state.page += by; draw(); };
  const back = element("button", { type: "button", onclick: step(-1) }, "Previous");
  const next = element("button", { type: "button", onclick: step(1) }, "Next");

  function sortBy(column) {
    state.down = state.column === column ? !state.down : column === "bytes" || column === "findings";
    state.column = column;
    sort();
    state.page = 0;
    draw();
  }

  function sort() {
    // The rows come with the largest first: what is sorted by size already stays as it is.
    const compare = keys[state.column];
    if (state.column === "bytes" && state.down) state.rows.sort((a, b) => a - b);
    else state.rows.sort((a, b) => (state.down ? compare(b, a) : compare(a, b)) || a - b);
  }

  function choose() {
    const rows = [];
    if (filter.words.length) lower ??= tensors.names.map((name) => name.toLowerCase());
    for (let row = 0; row < tensors.total; row++) {
      if ((filter.rows === null || filter.rows.has(row)) && (!filter.words.length || filter.holds(lower[row]))) rows.push(row);
    }
    state.rows = rows;
    if (state.column !== "bytes" || !state.down) sort();
    state.page = 0;
    draw();
  }

  function draw() {
    const pages = Math.max(1, Math.ceil(state.rows.length / ROWS));
    state.page = Math.max(0, Math.min(state.page, pages - 1));
    const first = state.page * ROWS;
    const visible = state.rows.slice(first, first + ROWS);
    body.replaceChildren(...visible.map((row) => {
      const kind = kindOf(row);
      const links = (findingsOf.get(row) ?? []).map((place) => findingLink(data.findings[place], place));
      return element("tr", {}, element("th", { scope: "row" }, nameOf(tensors.names[row])),
        element("td", { class: "tight" }, kind.dtype), element("td", { class: "number" }, shapeOf(kind.shape)),
        element("td", { class: "number" }, count(kind.bytes)),
        element("td", {}, nameOf(tensors.stored.shards[tensors.shard[row]])),
        element("td", { class: "tight" }, separated(links)));
    }));
    words.textContent = state.rows.length
      ? `${count(first + 1)} to ${count(first + visible.length)} of ${plural(state.rows.length, "tensor")}`
      : "No tensor has such a name.";
    back.disabled = state.page === 0;
    next.disabled = state.page === pages - 1;
    heads.forEach((head, place) => {
      if (COLUMNS[place][0] === state.column) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
  }

  filter.listeners.push(choose);
  choose();
  const label = "Every tensor";
  return {
    found: () => state.rows.length,
    nodes: [
      element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
        element("table", { id: "tensor-table" }, element("caption", { class: "sr" }, label),
          element("thead", {}, element("tr", {}, heads)), body)),
      element("div", { class: "pager" }, words, back, next),
    ],
  };
}

const collator = new Intl.Collator("en", { numeric: true });

function elements(kind) {
  return kind.shape.reduce((product, extent) => product * extent, 1);
}

function shapeOf(shape) {
  return shape.length ? shape.join(" × ") : "scalar";
}

function separated(nodes) {
  return nodes.flatMap((node, place) => (place ? [", ", node] : [node]));
}
