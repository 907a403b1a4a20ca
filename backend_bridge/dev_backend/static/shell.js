// What every page has: the link to the bridge, and whether the page is live.

import { byId, setText } from "./dom.js";

export function showConnection(state) {
  const node = byId("connection");
  node.className = `connection connection-${state}`;
  setText(node, state === "live" ? "Live" : "Reconnecting…");
}

// Its address; "" if there is none.
export async function showBridge() {
  const answer = await fetch("/api/dev/info");
  const { bridge_url: address } = await answer.json();
  if (!address || !/^https?:\/\//.test(address)) return "";
  const link = byId("bridge");
  const url = address.replace(/\/+$/, "");
  link.href = `${url}/docs`;
  link.hidden = false;
  return url;
}
