// What every page has: the link to the bridge, and whether the page is live.

import { byId, setText } from "./dom.js";

export function showConnection(state) {
  const node = byId("connection");
  node.className = `connection connection-${state}`;
  setText(node, state === "live" ? "Live" : "Reconnecting…");
}

export async function showBridge() {
  const answer = await fetch("/api/dev/info");
  const { bridge_url: address } = await answer.json();
  if (!address || !/^https?:\/\//.test(address)) return;
  const link = byId("bridge");
  link.href = `${address.replace(/\/+$/, "")}/docs`;
  link.hidden = false;
}
