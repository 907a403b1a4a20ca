// The worker says how the job stands; a signed-in user reads it.
import { publicJob } from "@/lib/training-store";
import { ApiError, answer, existing, write } from "@/lib/wire";

const STATUSES = ["running", "completed", "failed", "cancelled", "paused"];
const ENDED = ["completed", "failed", "cancelled"];
type Context = { params: Promise<{ jobId: string }> };

export function PATCH(request: Request, { params }: Context) {
  return write(request, params, (job, { status, error = null }) => {
    if (typeof status !== "string" || !STATUSES.includes(status)) {
      throw new ApiError(400, "Invalid status", `status should be one of ${STATUSES.join(", ")}`);
    }
    if (error !== null && typeof error !== "string") throw new ApiError(400, "error should be text");
    const now = new Date().toISOString();
    job.status = status;
    job.error = error;
    job.updated_at = now;
    if (status === "running") job.started_at ??= now;
    job.ended_at = ENDED.includes(status) ? now : null;
    return { success: true, status, updated_at: now };
  });
}

// Reads are for signed-in users: check the session of your application here.
export function GET(_: Request, { params }: Context) {
  return answer(async () => publicJob(await existing((await params).jobId)));
}
