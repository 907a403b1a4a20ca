// What goes over the wire: strict JSON in, errors as JSON out, and the check of a job's token.
import { createHash, timingSafeEqual } from "node:crypto";

import { type Job, type JsonObject, readJob, updateJob } from "./training-store";

export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly details?: string,
  ) {
    super(message);
  }
}

export function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** Runs a handler; an ApiError becomes `{"error", "details"?}` with its status. */
export async function answer(handle: () => Promise<unknown>, status = 200): Promise<Response> {
  try {
    return Response.json(await handle(), { status });
  } catch (error) {
    if (error instanceof ApiError) {
      const { message, details } = error;
      return Response.json({ error: message, ...(details && { details }) }, { status: error.status });
    }
    console.error(error);
    return Response.json({ error: "Internal server error" }, { status: 500 });
  }
}

/** The job of an id, or 404. */
export async function existing(jobId: string): Promise<Job> {
  const job = await readJob(jobId);
  if (!job) throw new ApiError(404, "Job not found");
  return job;
}

/**
 * A write to one job: token, then job, then body; `change` alters the job and gives the answer.
 *
 * A request whose `Idempotency-Key` was seen gets its first answer again and changes nothing: the
 * worker sends a message twice only where it could not know that the first try had arrived.
 */
export async function write(
  request: Request,
  params: Promise<{ jobId: string }>,
  change: (job: Job, body: JsonObject) => JsonObject,
): Promise<Response> {
  return answer(async () => {
    const { jobId } = await params;
    const token = bearer(request);
    if (!token) throw new ApiError(401, "Missing bearer token");
    const known = await existing(jobId);
    if (!timingSafeEqual(Buffer.from(known.tokenDigest), Buffer.from(digest(token)))) {
      throw new ApiError(401, "Invalid job token");
    }
    const raw = Buffer.from(await request.arrayBuffer());
    const key = request.headers.get("idempotency-key");
    const fingerprint = digest(`${request.method} ${new URL(request.url).pathname} ${raw.toString("base64")}`);
    return updateJob(jobId, (job) => {
      const seen = key === null ? undefined : job.answers[key];
      if (seen && seen.fingerprint !== fingerprint) {
        throw new ApiError(422, "This Idempotency-Key was used for another request");
      }
      if (seen) return seen.answer;
      const given = change(job, parseObject(raw));
      if (key !== null) job.answers[key] = { fingerprint, answer: given };
      return given;
    });
  });
}

/** A body that must be a JSON object: no NaN, no Infinity (`1e999` neither), valid UTF-8. */
export function parseObject(raw: Buffer): JsonObject {
  let value: unknown;
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(raw);
    value = JSON.parse(text, (_, inner: unknown) => {
      if (typeof inner === "number" && !Number.isFinite(inner)) throw new SyntaxError("number too large");
      return typeof inner === "string" ? inner.toWellFormed() : inner;
    });
  } catch (error) {
    throw new ApiError(400, "The body is not valid JSON", String(error).slice(0, 200));
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new ApiError(400, "The body should be a JSON object");
  }
  return value as JsonObject;
}

function bearer(request: Request): string | null {
  const [scheme, ...rest] = (request.headers.get("authorization") ?? "").split(" ");
  return scheme?.toLowerCase() === "bearer" ? rest.join(" ").trim() || null : null;
}
