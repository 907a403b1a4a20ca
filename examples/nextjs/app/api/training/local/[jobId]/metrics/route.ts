// The worker sends one point at a time; a signed-in user reads them all.
import type { JsonObject } from "@/lib/training-store";
import { ApiError, answer, existing, write } from "@/lib/wire";

const FIELDS = [
  "train_loss",
  "eval_loss",
  "learning_rate",
  "grad_norm",
  "train_perplexity",
  "perplexity",
  "samples_per_second",
  "tokens_per_second",
  "gpu_memory_allocated_gb",
  "gpu_memory_reserved_gb",
  "gpu_utilization_percent",
];
type Context = { params: Promise<{ jobId: string }> };

export function PUT(request: Request, { params }: Context) {
  return write(request, params, (job, body) => {
    const point = checkedPoint(body);
    job.metrics.push(point);
    Object.assign(job.latest, point);
    job.updated_at = new Date().toISOString();
    return { success: true };
  });
}

function checkedPoint(body: JsonObject): JsonObject {
  const { step, epoch } = body;
  if (typeof step !== "number" || !Number.isSafeInteger(step) || step < 1) {
    throw new ApiError(400, "step is required", "step should be an integer of 1 or more");
  }
  if (typeof epoch !== "number") throw new ApiError(400, "epoch is required", "epoch should be a number");
  const point: JsonObject = { step, epoch };
  for (const name of FIELDS) {
    const value = body[name] ?? null;
    if (value === null) continue;
    if (typeof value !== "number") throw new ApiError(400, "Invalid metric", `${name} should be a number`);
    point[name] = value;
  }
  return point;
}

export function GET(_: Request, { params }: Context) {
  return answer(async () => {
    const { job_id, metrics } = await existing((await params).jobId);
    return { job_id, metrics };
  });
}
