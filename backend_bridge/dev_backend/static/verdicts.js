// What is to be known of a job: warnings, which ask for an act, and notes below them.

import { element, setText } from "./dom.js";

const NOTES = new Set(["trained_part"]);

// In place if there are as many, so that selected text stays selected.
export function showVerdicts(list, verdicts) {
  const isNote = ({ kind }) => NOTES.has(kind);
  const ordered = [...verdicts.filter((one) => !isNote(one)), ...verdicts.filter(isNote)];
  if (list.childElementCount !== ordered.length) list.replaceChildren(...ordered.map(() => element("li")));
  ordered.forEach((one, index) => {
    list.children[index].className = isNote(one) ? "muted" : "";
    setText(list.children[index], `${isNote(one) ? "Note" : "Warning"}: ${one.sentence}`);
  });
}
