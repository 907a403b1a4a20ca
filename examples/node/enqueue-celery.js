// REDIS_URL=redis://... node enqueue-celery.js request.json
// Sends one Celery message and prints its task id, under which the answer stands in the stream
// training:replies. No result is kept: what becomes of the job the backend hears.
import { readFileSync } from "node:fs";
import { createClient } from "celery-node";
import Redis from "ioredis";

const url = process.env.REDIS_URL;
const client = createClient(url, url, "requests");
const request = JSON.parse(readFileSync(process.argv[2]));
const { taskId } = client.createTask("tasks.submit").applyAsync([], { request });
console.log(taskId);

// celery-node does not say when a message has gone out: wait for the answer before leaving.
const redis = new Redis(url);
for (let last = "0", answered = false; !answered; ) {
  const [[, entries]] = await redis.xread("BLOCK", 0, "STREAMS", "training:replies", last);
  for (const [entry, fields] of entries) {
    last = entry;
    const field = (name) => fields[fields.indexOf(name) + 1];
    if (field("request_id") !== taskId) continue;
    console.log(field("message"));
    process.exitCode = field("success") === "true" ? 0 : 1;
    answered = true;
  }
}
redis.disconnect();
await client.disconnect();
