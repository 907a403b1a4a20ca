// A refusal of the form: said below it, and beside each field that it names.

import { byId, element, setText } from "./dom.js";
import { withLabels } from "./fields.js";

// What a refusal that gives no path is about, if it quotes its value.
const NAMES = ["config.model.name", "dataset_path", "config.eval_dataset_path"];

export class Refusal extends Error {
  // wrong: {path: what is wrong there}
  constructor(sentence, wrong = wrongIn(sentence)) {
    super(sentence);
    this.wrong = wrong;
  }
}

// "path: what is wrong; path: what is wrong", as requests are refused.
function wrongIn(sentence) {
  const parts = sentence.split(/(?:^|; )([\w.]+): /).slice(1);
  return Object.fromEntries(parts.flatMap((path, at) => (at % 2 ? [] : [[path, parts[at + 1]]])));
}

// Shows it where a person looks: at the first field that it names, or else at its words.
export function showRefusal(form, { message, wrong }) {
  clearRefusal(form);
  setText(byId("said"), withLabels(message));
  byId("said").classList.add("bad");
  for (const [path, text] of Object.entries(wrong)) mark(controlOf(form, path), text);
  for (const path of NAMES) {
    const { value } = form.elements.namedItem(path);
    if (value.trim() && message.includes(`'${value.trim()}'`)) mark(form.elements.namedItem(path), message);
  }
  for (const section of form.querySelectorAll("details:has([aria-invalid])")) section.open = true;
  goTo(form.querySelector("[aria-invalid]") ?? byId("said"), "center");
}

export function clearRefusal(form) {
  setText(byId("said"), "");
  byId("said").classList.remove("bad");
  form.querySelectorAll("[aria-invalid]").forEach(unmark);
}

// A field was edited; with the last of those that were wrong the refusal goes.
export function edited(form, control) {
  if (!control.hasAttribute("aria-invalid")) return;
  unmark(control);
  if (!form.querySelector("[aria-invalid]")) clearRefusal(form);
}

function unmark(control) {
  byId(control.getAttribute("aria-describedby")).remove();
  control.removeAttribute("aria-invalid");
  control.removeAttribute("aria-describedby");
}

// Into view, with the focus, so that a screen reader says it.
export function goTo(node, block) {
  node.focus({ preventScroll: true });
  node.scrollIntoView({ block });
}

// A wrong value may lie within a field of JSON: `config.datasets.0.path`.
function controlOf(form, path) {
  const keys = path.split(".");
  for (let size = keys.length; size > 0; size -= 1) {
    const control = form.elements.namedItem(keys.slice(0, size).join("."));
    if (control) return control;
  }
  return null;
}

function mark(control, text) {
  if (!control || control.hasAttribute("aria-invalid")) return;
  const id = `wrong-${control.name}`;
  control.setAttribute("aria-invalid", "true");
  control.setAttribute("aria-describedby", id);
  control.after(element("span", { class: "wrong", id }, withLabels(text.charAt(0).toUpperCase() + text.slice(1))));
}
