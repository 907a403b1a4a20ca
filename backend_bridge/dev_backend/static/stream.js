// One server-sent event stream that outlives the server's restarts and lets go of its
// connection while nobody looks (a browser has six per host).

const RETRY_MS = 2000;

export class Stream {
  // handlers: event name → function of the decoded data. onState: "live" or "lost".
  // onGone: the server says that there is no such stream.
  constructor(path, handlers, { onState, onGone = () => {} }) {
    this.path = path;
    this.handlers = handlers;
    this.onState = onState;
    this.onGone = onGone;
    this.lastEventId = "";
    this.source = null;
    this.timer = null;
    document.addEventListener("visibilitychange", () => this.watch());
    window.addEventListener("pagehide", () => this.close());
    window.addEventListener("pageshow", () => this.watch());
    this.watch();
  }

  watch() {
    if (document.hidden) this.close();
    else if (!this.source) this.open();
  }

  open() {
    clearTimeout(this.timer);
    const after = this.lastEventId ? `?after=${encodeURIComponent(this.lastEventId)}` : "";
    const source = new EventSource(this.path + after);
    this.source = source;
    source.onopen = () => this.onState("live");
    source.onerror = () => this.failed(source);
    for (const [name, handle] of Object.entries(this.handlers)) {
      source.addEventListener(name, (event) => {
        if (event.lastEventId) this.lastEventId = event.lastEventId;
        handle(JSON.parse(event.data));
      });
    }
  }

  async failed(source) {
    if (source !== this.source) return;
    this.onState("lost");
    if (source.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
    this.close();
    if (await this.isGone()) this.onGone();
    else this.timer = setTimeout(() => this.watch(), RETRY_MS);
  }

  async isGone() {
    const stop = new AbortController();
    try {
      const answer = await fetch(this.path, { signal: stop.signal });
      return answer.status === 404;
    } catch {
      return false; // no answer at all: the server is away
    } finally {
      stop.abort();
    }
  }

  close() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }
}
