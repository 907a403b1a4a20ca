// Tags and notes of a job: shown beneath its title, written in the form below.

import { byId, element, setText } from "./dom.js";
import { send } from "./send.js";

export class Remarks {
  constructor(jobId) {
    this.path = `/api/dev/jobs/${encodeURIComponent(jobId)}/remarks`;
    byId("remarks").addEventListener("submit", (event) => {
      event.preventDefault();
      this.save();
    });
  }

  // What a person is writing stays.
  show({ tags, notes }) {
    const now = JSON.stringify([tags, notes]);
    if (now === this.shown) return;
    this.shown = now;
    byId("tags").replaceChildren(...tags.map((tag) => element("span", { class: "tag" }, tag)));
    setText(byId("note"), notes);
    byId("remarks-tags").value = tags.join(", ");
    byId("remarks-notes").value = notes;
  }

  async save() {
    const tags = byId("remarks-tags").value.split(",").map((tag) => tag.trim()).filter(Boolean);
    const { ok, said } = await send("PUT", this.path, { tags, notes: byId("remarks-notes").value.trim() });
    setText(byId("remarks-said"), ok ? "Saved" : said.details ?? said.error);
  }
}
