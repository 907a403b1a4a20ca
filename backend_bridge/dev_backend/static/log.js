// The live log: the last 10,000 lines, following the end until the reader scrolls away; a search
// hides the lines that do not match.

import { byId, element, setText } from "./dom.js";
import { count } from "./format.js";

const LINES_SHOWN = 10_000;
const STAMP = /^(\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\]) ?/;
const BAD = /\b(ERROR|CRITICAL|Traceback|[A-Z]\w*(Error|Exception):)/;
const DOUBTFUL = /\b(WARN(ING)?|\w*Warning:)/;
const END_PX = 40;

export class LogView {
  constructor() {
    this.box = byId("log");
    this.followButton = byId("log-follow");
    this.total = 0;
    this.follow = true;
    this.box.addEventListener("scroll", () => this.scrolled());
    this.followButton.addEventListener("click", () => this.setFollow(!this.follow));
    byId("log-wrap").addEventListener("click", (event) => {
      const wraps = this.box.classList.toggle("wrap");
      event.target.setAttribute("aria-pressed", wraps);
      this.toEnd();
    });
    this.search = "";
    byId("log-search").addEventListener("input", (event) => this.find(event.target.value));
    this.say();
  }

  append(lines, cut) {
    if (!lines.length) return;
    const added = document.createDocumentFragment();
    if (cut) added.append(element("div", { class: "cut" }, `${count(cut)} earlier lines are no longer kept`));
    for (const line of lines) added.append(this.line(line));
    this.box.append(added);
    this.total += cut + lines.length;
    while (this.box.childElementCount > LINES_SHOWN) this.box.firstElementChild.remove();
    this.say();
    this.toEnd();
  }

  line(text) {
    const stamp = STAMP.exec(text);
    const rest = stamp ? text.slice(stamp[0].length) : text;
    const kind = BAD.test(rest) ? "bad" : DOUBTFUL.test(rest) ? "doubtful" : "usual";
    const node = element("div", { class: `line ${kind}` });
    if (stamp) node.append(element("span", { class: "stamp" }, `${stamp[1]} `));
    node.append(rest || "\u200b");
    node.hidden = !this.matches(node);
    return node;
  }

  // ------------------------------------------------------------ searching

  find(text) {
    this.search = text.trim().toLowerCase();
    for (const node of this.box.children) node.hidden = !this.matches(node);
    this.say();
    this.toEnd();
  }

  matches(node) {
    return !this.search || node.textContent.toLowerCase().includes(this.search);
  }

  say() {
    const lines = this.total ? `${count(this.total)} lines` : "nothing yet";
    const hits = () => count([...this.box.children].filter((node) => !node.hidden).length);
    setText(byId("log-count"), this.search ? `${hits()} of ${lines}` : lines);
  }

  setFollow(follow) {
    this.follow = follow;
    this.followButton.setAttribute("aria-pressed", follow);
    this.toEnd();
  }

  toEnd() {
    if (this.follow) this.box.scrollTop = this.box.scrollHeight;
  }

  scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.box;
    const atEnd = scrollHeight - scrollTop - clientHeight < END_PX;
    if (atEnd !== this.follow) this.setFollow(atEnd);
  }
}
