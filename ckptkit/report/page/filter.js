// One filter for the whole page: words of names, all of which must be there. A star stands for any number or part.

const filter = {
  words: [],
  rows: null, // a set of rows of the tensor table, with a label: those that a finding is about
  label: "",
  listeners: [],

  set(text) {
    this.words = text.toLowerCase().split(/\s+/).filter(Boolean).map((word) => {
      const pattern = (star) => new RegExp(word.split("*").map(escaped).join(star));
      return { exact: pattern("[^.]*"), kind: kindPattern(word) };
    });
    this.tell();
  },

  only(rows, label) {
    this.rows = rows;
    this.label = label;
    this.tell();
  },

  /** Whether a name, in lower case, has every word. */
  holds(name) {
    return this.words.every(({ exact }) => exact.test(name));
  },

  /** Whether a name with stars for numbers has every word, whatever numbers these have. */
  holdsKind(kind) {
    const name = kind.toLowerCase();
    return this.words.every(({ exact, kind: pattern }) => exact.test(name) || pattern.test(name));
  },

  get active() {
    return this.words.length > 0 || this.rows !== null;
  },

  tell() {
    for (const listener of this.listeners) listener();
  },
};

function escaped(text) {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

/** The pattern of a word in a name with stars: a number is a star there. */
function kindPattern(word) {
  const parts = word.split(".").map((part) => (/^(\d+|\*)$/.test(part) ? "\\*" : escaped(part)));
  return new RegExp(parts.join("\\."));
}
