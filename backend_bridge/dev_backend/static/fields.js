// Fields of a form, made from the schema of a request: a field for each value, read back by its path.

import { element } from "./dom.js";
import { LABELS, NOT_ASKED, PLACEHOLDERS, SECTIONS } from "./labels.js";

// What a form asks first, in this order; all else stands below, section by section.
const FIRST = [
  "name", "config.model.name", "dataset_path", "config.eval_dataset_path", "config.training.method", "config.training.num_epochs",
  "config.training.max_steps", "config.training.learning_rate", "config.training.batch_size",
  "config.training.max_length", "config.training.use_lora",
];

// [{path, schema}] of every value that a request may have.
export function fieldsOf(schema) {
  const found = [];
  const visit = (part, path) => {
    const it = resolved(part, schema);
    if (it.properties && path.length < 4) {
      for (const [key, inner] of Object.entries(it.properties)) {
        const inside = [...path, key];
        if (!NOT_ASKED.has(inside.join("."))) visit(inner, inside);
      }
    } else {
      found.push({ path: path.join("."), schema: it });
    }
  };
  visit(schema, []);
  return found;
}

export function isFirst({ path }) {
  return FIRST.includes(path);
}

export function byFirst(a, b) {
  return FIRST.indexOf(a.path) - FIRST.indexOf(b.path);
}

// References and "or null" taken away.
function resolved(part, schema) {
  const own = { ...part };
  if (part.$ref) return { ...resolved(schema.$defs[part.$ref.split("/").pop()], schema), default: part.default };
  const real = (part.anyOf ?? []).filter(({ type }) => type !== "null");
  return real.length === 1 ? { ...resolved(real[0], schema), default: part.default } : own;
}

export function field({ path, schema }) {
  const control = controlOf(schema);
  control.name = path;
  if (!(control instanceof HTMLSelectElement)) control.placeholder = PLACEHOLDERS[path] ?? (schema.default == null ? "" : text(schema.default));
  control.id = `field-${path}`;
  return element("div", { class: "field", title: path }, element("label", { for: control.id }, labelOf(path)), control);
}

export const labelOf = (path) => LABELS[path] ?? words(path.split(".").pop());

export function sectionOf(path) {
  const within = path.split(".").slice(0, -1).join(".");
  if (within in SECTIONS) return SECTIONS[within];
  const name = within.replace(/^config\.?/, "").replaceAll(".", " · ");
  return name.replace(/^./, (first) => first.toUpperCase());
}

// The names that the form has for fields, before their paths: of those that are wrong, and of those that would mend it.
export function withLabels(sentence) {
  return sentence.replace(/(; |)([\w.]*\w)(: |)/g, (whole, before, path, colon, offset) => {
    if (!(path in LABELS)) return whole;
    if ((before || offset === 0) && colon) return `${before}${LABELS[path]} (${path}): `;
    return path.startsWith("config.") ? `${before}“${LABELS[path]}”${whereOf(path)} (${path})${colon}` : whole;
  });
}

const whereOf = (path) => (isFirst({ path }) ? "" : ` under “${sectionOf(path)}”`);

function controlOf(schema) {
  if (schema.enum || schema.type === "boolean") {
    const usual = schema.default == null ? "as usual" : `as usual: ${schema.type === "boolean" ? (schema.default ? "yes" : "no") : schema.default}`;
    const choices = schema.enum ? schema.enum.map((one) => [one, one]) : [["true", "yes"], ["false", "no"]];
    return element("select", {}, element("option", { value: "" }, usual), ...choices.map(([value, label]) => element("option", { value }, label)));
  }
  if (isPlain(schema)) return element("input", { autocomplete: "off", spellcheck: "false", inputmode: schema.type === "string" ? "text" : "decimal" });
  return element("textarea", { rows: 2, spellcheck: "false", title: "JSON" });
}

const isPlain = ({ type }) => ["string", "number", "integer"].includes(type);
const words = (key) => key.charAt(0).toUpperCase() + key.slice(1).replaceAll("_", " ");
const text = (value) => (typeof value === "string" ? value : JSON.stringify(value));

// The value in a control: undefined if it is empty. Raises SyntaxError for a text that is no JSON.
export function valueOf(control, schema) {
  const written = control.value.trim();
  if (!written) return undefined;
  if (schema.type === "boolean") return written === "true";
  if (schema.type === "string" || schema.enum) return written;
  if (isPlain(schema)) return Number.isFinite(Number(written)) ? Number(written) : written;
  return JSON.parse(written);
}

export function setValue(control, value) {
  control.value = value == null ? "" : text(value);
}

export function at(object, path) {
  return path.split(".").reduce((inner, key) => inner?.[key], object);
}

// A copy of the object in which a path has a value, or has none.
export function put(object, path, value) {
  const [key, ...rest] = path.split(".");
  const inner = rest.length ? put(object?.[key] ?? {}, rest.join("."), value) : value;
  const { [key]: _, ...others } = object ?? {};
  const isEmpty = inner === undefined || (rest.length && Object.keys(inner).length === 0);
  return isEmpty ? others : { ...others, [key]: inner };
}
