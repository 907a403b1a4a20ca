// The buttons of a job: what may be asked of it now, asked through the bridge.

import { byId, element, setText } from "./dom.js";

const BUTTONS = {
  pause: { label: "Pause", states: ["running", "queued"] },
  resume: { label: "Resume", states: ["paused"] },
  cancel: { label: "Cancel", states: ["queued", "running", "pausing", "paused"] },
  kill: { label: "Kill now", states: ["cancelling"], action: "cancel", body: { force: true } },
  "force-start": { label: "Start again", states: ["failed", "cancelled"] },
  head: { label: "Move to the head", states: ["queued"], action: "force-start" },
};
const CONFIRM = { cancel: "Cancel this job? What it has trained since its last checkpoint is lost." };

export class Controls {
  constructor(jobId) {
    this.jobId = jobId;
    this.state = null;
    this.nodes = new Map();
    for (const [name, { label }] of Object.entries(BUTTONS)) {
      const node = element("button", { type: "button", class: `action action-${name}`, "data-action": name }, label);
      node.addEventListener("click", () => this.press(name));
      node.hidden = true;
      this.nodes.set(name, node);
      byId("actions").append(node);
    }
  }

  // state: the job's at the bridge; null where the bridge does not answer.
  show(state) {
    if (state !== this.state) this.say("");
    this.state = state;
    for (const [name, node] of this.nodes) node.hidden = !BUTTONS[name].states.includes(state);
  }

  async press(name) {
    if (CONFIRM[name] && !window.confirm(CONFIRM[name])) return;
    await this.ask(BUTTONS[name].action ?? name, BUTTONS[name].body ?? {});
  }

  async ask(action, body) {
    this.say("…");
    const path = `/api/dev/bridge/${encodeURIComponent(this.jobId)}/${action}`;
    try {
      const answer = await fetch(path, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body),
      });
      const said = await answer.json();
      this.say(said.message ?? said.error ?? "", !answer.ok);
    } catch {
      this.say("This server does not answer", true);
    }
  }

  say(text, failed = false) {
    setText(byId("said"), text);
    byId("said").classList.toggle("bad", failed);
  }
}
