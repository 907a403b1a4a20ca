// A line that one copies: a path, a command.

import { element } from "./dom.js";

const SAID_MS = 1500;

export function copyable(text) {
  const button = element("button", { type: "button", class: "copy", "aria-label": `Copy ${text}` }, "Copy");
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), SAID_MS);
  });
  return element("span", { class: "copyable" }, element("code", { class: "mono" }, text), button);
}
