/** `POST /admission/validate`: an AdmissionReview v1 in, one out. */
import type { Context } from "hono";
import { parseJson } from "../text/json.ts";
import { logger } from "../telemetry/logging.ts";
import { type AdmissionRules, answerReview, judgeAdmission, readReview } from "./admission_judge.ts";
import { ByteBudget, problem, readBody, Refusal, requestIdOf } from "./request.ts";

/** The path that the chart gives to the API server for admission reviews. */
export const ADMISSION_PATH = "/admission/validate";

export interface AdmissionOptions {
  /** Users that may write what zen-watcher writes: itself, further controllers, restorers. */
  readonly writers: () => readonly string[];
  /** EXCEPTION_MAX_DAYS. */
  readonly exceptionMaxDays: number;
}

const MIB = 2 ** 20;
/** Twice the largest object an API server stores, and the review around it. */
const MAX_BODY_BYTES = 4 * MIB;
/** Apart from the webhooks' budget: this path checks no token, and must not use up their room. */
const BODY_BUDGET_BYTES = 16 * MIB;
/** Shorter than the API server's own patience. */
const BODY_TIMEOUT_MS = 4_000;

const log = logger("admission");

/** Answers one review. Stateless: a caller learns nothing but the answer. */
export function createAdmissionHandler({ writers, exceptionMaxDays }: AdmissionOptions) {
  const budget = new ByteBudget(BODY_BUDGET_BYTES);
  return async function handle(c: Context): Promise<Response> {
    try {
      if (c.req.method !== "POST") {
        throw new Refusal(405, "Cannot take this request: use POST", { allow: "POST" });
      }
      using body = await readBody(c.req.raw, {
        maxBytes: MAX_BODY_BYTES,
        budget,
        timeoutMs: BODY_TIMEOUT_MS,
      });
      return review(c, body.bytes, { writers: writers(), exceptionMaxDays });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return problem(c, error);
    }
  };
}

function review(c: Context, bytes: Uint8Array, rules: AdmissionRules): Response {
  const parsed = parseJson(bytes);
  if (!parsed.ok) throw new Refusal(400, `Cannot read the review: ${parsed.error.message}`);
  const request = readReview(parsed.value);
  if ("problem" in request) throw new Refusal(400, `Cannot read the review: ${request.problem}`);
  const judgement = judgeAdmission(request, rules);
  if (!judgement.allowed) {
    // The logger throttles warnings, so a client that retries in a loop does not fill the log.
    log.warn("Write refused", {
      user: request.username,
      operation: request.operation,
      resource: request.resource,
      subResource: request.subResource,
      reason: judgement.message,
      correlationId: requestIdOf(c),
    });
  }
  return c.json(answerReview(request, judgement));
}
