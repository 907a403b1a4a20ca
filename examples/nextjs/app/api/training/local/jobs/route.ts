// Your application makes the row before it starts the job at the bridge; the token is made here too.
import { createJob, JOB_ID, type Job, listJobs, publicJob } from "@/lib/training-store";
import { ApiError, answer, digest, parseObject } from "@/lib/wire";

const STATUSES = ["pending", "running", "completed", "failed", "cancelled", "paused"];

export const dynamic = "force-dynamic";

export function POST(request: Request) {
  return answer(async () => {
    const body = parseObject(Buffer.from(await request.arrayBuffer()));
    const { job_id, job_token, config = {}, status = "pending" } = body;
    const problems: string[] = [];
    if (typeof job_id !== "string" || !JOB_ID.test(job_id)) {
      problems.push("job_id: 1 to 128 letters, digits, '.', '_' or '-', no dot first");
    }
    if (typeof job_token !== "string" || !job_token.trim()) problems.push("job_token: required");
    if (typeof config !== "object" || config === null || Array.isArray(config)) {
      problems.push("config: should be an object");
    }
    if (typeof status !== "string" || !STATUSES.includes(status)) problems.push("status: unknown");
    const text = (name: "user_id" | "model_name" | "dataset_path"): string | null => {
      const value = body[name] ?? null;
      if (value === null || typeof value === "string") return value;
      problems.push(`${name}: should be text`);
      return null;
    };
    const texts = { user_id: text("user_id"), model_name: text("model_name"), dataset_path: text("dataset_path") };
    if (problems.length > 0) throw new ApiError(400, "Invalid job", problems.join("; "));
    const now = new Date().toISOString();
    const job: Job = {
      job_id: String(job_id),
      ...texts,
      status: String(status),
      error: null,
      config: config as Job["config"],
      created_at: now,
      updated_at: now,
      started_at: null,
      ended_at: null,
      latest: {},
      metrics: [],
      logs: [],
      tokenDigest: digest(String(job_token).trim()),
      answers: {},
    };
    if (!(await createJob(job))) throw new ApiError(409, "A job with this id exists already");
    return { success: true, job: publicJob(job) };
  }, 201);
}

export function GET() {
  return answer(async () => ({ jobs: (await listJobs()).map(publicJob) }));
}
