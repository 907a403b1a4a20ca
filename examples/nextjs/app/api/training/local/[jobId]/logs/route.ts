// The worker appends up to 100 lines at a time; a signed-in user reads a part of them.
import { ApiError, answer, existing, write } from "@/lib/wire";

const LINES_KEPT = 10_000;
type Context = { params: Promise<{ jobId: string }> };

export function POST(request: Request, { params }: Context) {
  return write(request, params, (job, { logs }) => {
    if (!Array.isArray(logs) || !logs.every((line) => typeof line === "string")) {
      throw new ApiError(400, "logs should be an array of strings");
    }
    job.logs = [...job.logs, ...logs].slice(-LINES_KEPT);
    job.updated_at = new Date().toISOString();
    return { success: true, logs_appended: logs.length, total_logs: job.logs.length };
  });
}

export function GET(request: Request, { params }: Context) {
  return answer(async () => {
    const { job_id, logs } = await existing((await params).jobId);
    const query = new URL(request.url).searchParams;
    const limit = whole(query.get("limit") ?? "100", 1, 100_000, "limit");
    const offset = whole(query.get("offset") ?? "0", -100_000, 100_000, "offset");
    const start = offset < 0 ? Math.max(0, logs.length + offset) : offset;
    const lines = logs.slice(start, start + limit);
    return { job_id, logs: lines, total_lines: logs.length, offset: start, limit };
  });
}

function whole(text: string, low: number, high: number, name: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < low || value > high) {
    throw new ApiError(400, `${name} should be a whole number from ${low} to ${high}`);
  }
  return value;
}
