// Where jobs are kept: one JSON file each, so that the example runs without a database.
//
// With a database, keep the two promises of `updateJob`: the change and the remembered answer of an
// Idempotency-Key are one transaction, and two writes to one job follow one another.
import { mkdir, readdir, readFile, rename, writeFile } from "node:fs/promises";
import path from "node:path";

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
export type JsonObject = { [name: string]: Json };

export interface Job {
  job_id: string;
  user_id: string | null;
  model_name: string | null;
  dataset_path: string | null;
  status: string;
  error: string | null;
  config: JsonObject;
  created_at: string;
  updated_at: string;
  started_at: string | null;
  ended_at: string | null;
  latest: JsonObject;
  metrics: JsonObject[];
  logs: string[];
  tokenDigest: string;
  answers: Record<string, { fingerprint: string; answer: JsonObject }>;
}

export const JOB_ID = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$/;
const FOLDER = path.resolve(/* turbopackIgnore: true */ process.env.TRAINING_STORE ?? ".training");

// Route handlers are bundled apart; what they share lives on globalThis.
const shared = globalThis as typeof globalThis & { trainingWrites?: Map<string, Promise<unknown>> };
const writes = (shared.trainingWrites ??= new Map());

export async function readJob(jobId: string): Promise<Job | null> {
  if (!JOB_ID.test(jobId)) return null;
  try {
    return JSON.parse(await readFile(fileOf(jobId), "utf8")) as Job;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}

/** Creates a job; false where its id is taken. */
export async function createJob(job: Job): Promise<boolean> {
  return oneAfterAnother(job.job_id, async () => {
    if (await readJob(job.job_id)) return false;
    await save(job);
    return true;
  });
}

/** Changes a job that exists, after every earlier write to it; nothing is kept where `change` throws. */
export async function updateJob<T>(jobId: string, change: (job: Job) => T): Promise<T> {
  return oneAfterAnother(jobId, async () => {
    const job = await readJob(jobId);
    if (!job) throw new Error(`no job ${jobId}`);
    const result = change(job);
    await save(job);
    return result;
  });
}

/** Every job, the newest first. */
export async function listJobs(): Promise<Job[]> {
  await mkdir(FOLDER, { recursive: true });
  const names = (await readdir(FOLDER)).filter((name) => name.endsWith(".json"));
  const jobs = await Promise.all(names.map((name) => readJob(name.slice(0, -".json".length))));
  return jobs.filter((job) => job !== null).sort((a, b) => b.created_at.localeCompare(a.created_at));
}

/** What a reader may see. */
export function publicJob(job: Job): JsonObject {
  const { tokenDigest: _digest, answers: _answers, metrics: _metrics, logs: _logs, ...rest } = job;
  return rest;
}

async function oneAfterAnother<T>(jobId: string, write: () => Promise<T>): Promise<T> {
  const before = writes.get(jobId) ?? Promise.resolve();
  const mine = before.then(write, write);
  writes.set(jobId, mine);
  try {
    return await mine;
  } finally {
    if (writes.get(jobId) === mine) writes.delete(jobId);
  }
}

async function save(job: Job): Promise<void> {
  await mkdir(FOLDER, { recursive: true });
  const partial = `${fileOf(job.job_id)}.partial`;
  await writeFile(partial, JSON.stringify(job));
  await rename(partial, fileOf(job.job_id));
}

function fileOf(jobId: string): string {
  return path.join(FOLDER, `${jobId}.json`);
}
