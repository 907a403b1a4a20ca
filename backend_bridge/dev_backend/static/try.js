// Questions to a trained model, and to the one that it was made from, side by side.

import { byId, element, setText } from "./dom.js";

const SIDES = [
  { id: "try-base", title: "Before the training", base: true },
  { id: "try-trained", title: "Trained", base: false },
];

// Why an answer ends before its own end, as `trainyard generate` has it.
const CUT = { length: ": cut at the maximum length", deadline: ": cut, it took too long" };

export class TryIt {
  constructor(jobId) {
    this.path = `/api/dev/bridge/${encodeURIComponent(jobId)}/generate`;
    this.stop = null;
    byId("try-sides").append(...SIDES.map(({ id, title }) => element("div", { class: "side", id },
      element("h3", {}, title, " ", element("small", { class: "muted", role: "status" })), element("div", { class: "answer" }))));
    byId("try-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.ask(byId("try-prompt").value);
    });
    byId("try-prompt").addEventListener("input", () => setText(byId("try-said"), ""));
    byId("try-prompt").addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      byId("try-form").requestSubmit();
    });
    byId("try-stop").addEventListener("click", () => this.stop?.abort());
  }

  async ask(prompt) {
    const isEmpty = !prompt.trim();
    setText(byId("try-said"), isEmpty ? "Write a prompt first" : "");
    if (isEmpty) return byId("try-prompt").focus();
    this.stop?.abort();
    const stop = (this.stop = new AbortController());
    byId("try-stop").hidden = false;
    await Promise.all(SIDES.map(({ id, base }) => this.answer(byId(id), { prompt, base }, stop.signal)));
    if (this.stop === stop) byId("try-stop").hidden = true;
  }

  async answer(side, question, signal) {
    const [told, text] = [side.querySelector("small"), side.querySelector(".answer")];
    text.textContent = "";
    setText(told, "Asking…");
    try {
      const answer = await fetch(this.path, {
        method: "POST", signal, headers: { "Content-Type": "application/json" }, body: JSON.stringify(question),
      });
      if (!answer.ok) return setText(told, (await answer.json()).error);
      for await (const said of events(answer.body)) {
        if (said.kind === "text") text.append(said.text);
        else setText(told, inWords(said));
      }
      if (!text.textContent && told.textContent.includes("tokens")) text.textContent = "(nothing)";
    } catch (error) {
      setText(told, error.name === "AbortError" ? "Stopped" : "This server does not answer");
    }
  }
}

function inWords(said) {
  switch (said.kind) {
    case "waiting":
      if (!said.slots) return "Waits: no worker is there";
      if (said.makes_way) return `Slips in: ${said.makes_way} makes way at its next step`;
      return said.behind.length ? `Waits until a slot is free: ${said.behind.join(", ")} has it` : `Waits, place ${said.position}`;
    case "loading":
      return said.loaded ? "Answers…" : "Loads the model…";
    case "done":
      return `${said.completion_tokens} tokens in ${said.seconds.toFixed(1)} s${CUT[said.reason] ?? ""}`;
    default:
      return [said.error, said.hint].filter(Boolean).join(" ");
  }
}

// The objects of a stream of server-sent events.
async function* events(body) {
  let rest = "";
  for await (const piece of body.pipeThrough(new TextDecoderStream())) {
    const parts = (rest + piece).split("\n\n");
    rest = parts.pop();
    for (const part of parts) if (part.startsWith("data: ")) yield JSON.parse(part.slice(6));
  }
}
