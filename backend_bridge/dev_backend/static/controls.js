// The buttons of a job: what may be asked of it now, asked through the bridge.

import { byId, element, setText } from "./dom.js";
import { send } from "./send.js";

const BUTTONS = {
  pause: { label: "Pause" },
  resume: { label: "Resume" },
  cancel: { label: "Cancel" },
  kill: { label: "Kill now", action: "cancel", body: { force: true } },
  "force-start": { label: "Start again" },
  delete: { label: "Delete" },
  head: { label: "Move to the head", action: "force-start" },
};
const CONFIRM = {
  delete: "Delete this job for good, with its log, its checkpoints and what was trained?",
  cancel: "Cancel this job? What it has trained since its last checkpoint is lost.",
};

export class Controls {
  // question: asked before a cancel.
  constructor(jobId, question = CONFIRM.cancel) {
    this.jobId = jobId;
    this.confirm = { ...CONFIRM, cancel: question };
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

  // state: the job's at the bridge, null if the bridge does not answer; buttons: what it offers then.
  show(state, buttons) {
    if (state !== this.state) this.say("");
    this.state = state;
    for (const [name, node] of this.nodes) node.hidden = !buttons.includes(name);
  }

  async press(name) {
    if (this.confirm[name] && !window.confirm(this.confirm[name])) return;
    if (name === "delete") return this.delete();
    await this.ask(BUTTONS[name].action ?? name, BUTTONS[name].body ?? {});
  }

  async ask(action, body) {
    this.say("…");
    const { ok, said } = await send("POST", `/api/dev/bridge/${encodeURIComponent(this.jobId)}/${action}`, body);
    this.say(said.message ?? said.error ?? "", !ok);
  }

  async delete() {
    const { ok, said } = await send("DELETE", `/api/dev/jobs/${encodeURIComponent(this.jobId)}`);
    if (ok) location.assign("/");
    else this.say(said.error ?? "", true);
  }

  say(text, failed = false) {
    setText(byId("said"), text);
    byId("said").classList.toggle("bad", failed);
  }
}
