// REDIS_URL=redis://... node enqueue-stream.js request.json
// Adds one request to the stream and prints the answer; exit code 1 where it was refused.
import { readFileSync } from "node:fs";
import Redis from "ioredis";

const redis = new Redis(process.env.REDIS_URL);
const request = { action: "start", ...JSON.parse(readFileSync(process.argv[2])) };
const id = await redis.xadd("training:requests", "*", "request", JSON.stringify(request));

for (let last = "0", answered = false; !answered; ) {
  const [[, entries]] = await redis.xread("BLOCK", 0, "STREAMS", "training:replies", last);
  for (const [entry, fields] of entries) {
    last = entry;
    const field = (name) => fields[fields.indexOf(name) + 1];
    if (field("request_id") !== id) continue;
    console.log(field("message"));
    process.exitCode = field("success") === "true" ? 0 : 1;
    answered = true;
  }
}
redis.disconnect();
