// One job, by the types that openapi-typescript made: `node story.js URL REQUEST FOLDER`.
import { writeFileSync } from "node:fs";
import createClient from "openapi-fetch";
import type { components, paths } from "./bridge.js";

const [url, wanted, folder] = [process.argv[2], JSON.parse(process.argv[3]), process.argv[4]];
const client = createClient<paths>({ baseUrl: url });
const params = { path: { job_id: wanted.execution_id as string } };
type Status = components["schemas"]["JobStatus"];

function known<T>(answer: { data?: T; error?: { error: string } }): T {
  if (answer.data === undefined) throw new Error(answer.error?.error);
  return answer.data;
}

async function wait(state: Status): Promise<void> {
  for (;;) {
    const job = known(await client.GET("/api/training/status/{job_id}", { params }));
    if (job.status === state && (job.current_step ?? 0) >= 2) return;
    if (job.status === "failed") throw new Error(job.error ?? "failed");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const request: components["schemas"]["StartRequest"] = {
  execution_id: wanted.execution_id,
  job_token: wanted.job_token,
  dataset_path: wanted.dataset_path,
  config: {
    model: { name: wanted.model },
    training: { max_steps: wanted.steps, logging_steps: 2, max_length: 64 },
  },
};
known(await client.POST("/api/training/execute", { body: request }));
await wait("running");
known(await client.POST("/api/training/pause/{job_id}", { params }));
await wait("paused");
known(await client.POST("/api/training/resume/{job_id}", { params }));
await wait("completed");
const refused = await client.POST("/api/training/resume/{job_id}", { params });
if (refused.response.status !== 409 || !refused.error?.error) throw new Error("not refused");

const { metrics } = known(await client.GET("/api/training/metrics/{job_id}", { params }));
const loss: number | undefined = metrics[0]?.train_loss;
if (loss === undefined || metrics.at(-1)?.step !== wanted.steps) throw new Error("no metrics");
const path = "/api/training/{job_id}/download/model";
const archive = known(await client.GET(path, { params, parseAs: "arrayBuffer" }));
writeFileSync(`${folder}/model.tar`, Buffer.from(archive));
const logs = "/api/training/{job_id}/download/logs";
const log: string = known(await client.GET(logs, { params, parseAs: "text" }));
writeFileSync(`${folder}/train.log`, log);
const figures: string = known(await client.GET("/metrics", { parseAs: "text" }));
if (!figures.includes("trainyard_jobs")) throw new Error("no figures");
console.log("done");
