// A fine-tuning from beginning to end by OpenAI's own client, which knows nothing of Trainyard.
import assert from "node:assert/strict";
import OpenAI, { APIError, toFile } from "openai";

const [url, json] = process.argv.slice(2);
const { key, config } = JSON.parse(json);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });

async function wait(id, status) {
  for (const until = Date.now() + 120_000; Date.now() < until; ) {
    const job = await client.fineTuning.jobs.retrieve(id);
    if (job.status === status) return job;
    assert(!["failed", "cancelled", "succeeded"].includes(job.status), JSON.stringify(job));
    await new Promise((done) => setTimeout(done, 200));
  }
  assert.fail(`${id} is not ${status}`);
}

async function all(pages) {
  const found = [];
  for await (const one of pages) found.push(one);
  return found;
}

const pairs = Array.from({ length: 16 }, (_, n) => ({
  input: { messages: [{ role: "user", content: `What is ${n} plus ${n}?` }], tools: [] },
  preferred_output: [{ role: "assistant", content: `${2 * n}` }],
  non_preferred_output: [{ role: "assistant", content: "I do not know." }],
}));
const rows = pairs.map((pair) => `${JSON.stringify(pair)}\n`).join("");
const file = await client.files.create({
  file: await toFile(Buffer.from(rows), "pairs.jsonl"),
  purpose: "fine-tune",
});
assert.equal(await (await client.files.content(file.id)).text(), rows);
const [newest] = await all(client.files.list({ limit: 1 }));
assert.deepEqual(newest, file);

const method = { type: "dpo", dpo: { hyperparameters: { n_epochs: 30, beta: 0.2 } } };
let job = await client.fineTuning.jobs.create({ model: "tiny", training_file: file.id, method, config });
await client.fineTuning.jobs.pause(job.id);
await wait(job.id, "paused");
await client.fineTuning.jobs.resume(job.id);
job = await wait(job.id, "succeeded");
assert.equal(job.method.dpo.hyperparameters.beta, 0.2);

const events = await all(client.fineTuning.jobs.listEvents(job.id, { limit: 3 }));
assert(events.length > 3 && new Set(events.map(({ id }) => id)).size === events.length);
assert.equal(events.at(-1).message, `Created fine-tuning job: ${job.id}`);
const [point] = await all(client.fineTuning.jobs.checkpoints.list(job.id, { limit: 1 }));
assert(point.fine_tuned_model_checkpoint.startsWith(`${job.fine_tuned_model}:ckpt-step-`));
assert((await all(client.models.list())).some(({ id }) => id === job.fine_tuned_model));

const question = {
  model: job.fine_tuned_model,
  messages: [{ role: "user", content: "What is 2 plus 2?" }],
  max_completion_tokens: 8,
  temperature: 0,
};
const answer = await client.chat.completions.create(question);
let said = "";
for await (const chunk of await client.chat.completions.create({ ...question, stream: true })) {
  said += chunk.choices[0]?.delta?.content ?? "";
}
assert.equal(said, answer.choices[0].message.content);

const endless = { training: { max_steps: 100_000 } };
const other = await client.fineTuning.jobs.create({ model: "tiny", training_file: file.id, method, config: endless });
await wait(other.id, "running");
await client.fineTuning.jobs.cancel(other.id);
for (let status = ""; status !== "cancelled"; ) {
  ({ status } = await client.fineTuning.jobs.retrieve(other.id));
  await new Promise((done) => setTimeout(done, 200));
}
await assert.rejects(client.fineTuning.jobs.resume(other.id), (error) => {
  return error instanceof APIError && error.status === 400 && error.code === "invalid_state";
});
assert((await client.files.delete(file.id)).deleted);
console.log("done");
