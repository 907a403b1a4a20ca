// A filter in words: every word must be found in some column, `model:tiny` in that one.

import { FILTERED, textsOf } from "./columns.js";

export function matcher(query) {
  const terms = query.toLowerCase().split(/\s+/).filter(Boolean).map(term);
  return (job, live) => terms.every(({ columns, word }) => columns.some((column) =>
    textsOf(column, job, live).some((text) => text.includes(word))));
}

function term(word) {
  const [key, ...rest] = word.split(":");
  const named = rest.length ? FILTERED.filter((column) => column.key === key) : [];
  return named.length ? { columns: named, word: rest.join(":") } : { columns: FILTERED, word };
}
