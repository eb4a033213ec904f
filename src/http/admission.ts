/** `POST /admission/validate`: an AdmissionReview v1 in, one out. */
import type { Context } from "hono";
import type { TimeSlices } from "../pipeline/limits.ts";
import { scanJsonInSlices } from "../text/json.ts";
import type { Clock } from "../model/time.ts";
import { logger } from "../telemetry/logging.ts";
import { throttle } from "../telemetry/throttle.ts";
import { type AdmissionRules, answerReview, judgeAdmission, readReview } from "./admission_judge.ts";
import {
  type AddressSet,
  announcedLength,
  type BodyLimits,
  clientAddress,
  problem,
  readBody,
  Refusal,
  requestIdOf,
  tooManyRequests,
  WHOLE_BYTES,
} from "./request.ts";

/** The path that the chart gives to the API server for admission reviews. */
export const ADMISSION_PATH = "/admission/validate";

export interface AdmissionOptions {
  /** Users that may write what zen-watcher writes: itself, further controllers, restorers. */
  readonly admissionWriters: () => readonly string[];
  /** EXCEPTION_MAX_DAYS. */
  readonly exceptionMaxDays: number;
  readonly trustedProxies: AddressSet;
  /** False where this client is over its limit. */
  readonly allow: (client: string) => boolean;
  readonly bodies: BodyLimits;
  readonly slices: TimeSlices;
  readonly clock: Clock;
}

/** Shorter than the API server's own patience. */
const BODY_TIMEOUT_MS = 4_000;
/** The logger writes 10 lines of one message in 10 s. One address gets half, so that others are still seen. */
const REFUSED_LINES = { lines: 5, windowMs: 10_000 };

const log = logger("admission");

/**
 * Answers one review, on the TLS port alone: an API server calls no other. Stateless: a caller learns nothing but the answer.
 * Nothing proves that the caller is the API server, so each address has a rate and a share of the memory.
 */
export function createAdmissionHandler(options: AdmissionOptions) {
  const { trustedProxies, allow, bodies, clock } = options;
  const throttled = throttle({ ...REFUSED_LINES, now: () => clock.now() });
  return async function handle(
    c: Context,
    { peer, isTls }: { readonly peer: string; readonly isTls?: boolean },
  ): Promise<Response> {
    try {
      if (!isTls) {
        throw new Refusal(404, "Cannot review admission here: the TLS port does (WATCHER_TLS_PORT)");
      }
      if (c.req.method !== "POST") {
        throw new Refusal(405, "Cannot take this request: use POST", { allow: "POST" });
      }
      const client = clientAddress(peer, c.req.header("x-forwarded-for"), trustedProxies);
      if (!allow(client)) throw tooManyRequests();
      const length = announcedLength(c.req.raw);
      using body = await readBody(c.req.raw, {
        maxBytes: bodies.maxReviewBytes,
        bound: "the longest review",
        // Large reviews, and bodies of no announced length, leave this room to the small ones, which nearly all are.
        budget: length > 0 && length <= WHOLE_BYTES ? bodies.smallReviews : bodies.reviews,
        sender: client,
        timeoutMs: BODY_TIMEOUT_MS,
      });
      const rules = { writers: options.admissionWriters(), exceptionMaxDays: options.exceptionMaxDays };
      return await review(c, body.bytes, {
        ...options,
        rules,
        linesLeftOut: () => throttled(client),
        client,
      });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return problem(c, error);
    }
  };
}

interface Reviewing extends Pick<AdmissionOptions, "bodies" | "slices"> {
  readonly rules: AdmissionRules;
  readonly client: string;
  /** How many lines of this client were left out before this one; undefined where this one is left out too. */
  readonly linesLeftOut: () => number | undefined;
}

async function review(
  c: Context,
  bytes: Uint8Array,
  { bodies: { maxValues }, slices, rules, client, linesLeftOut }: Reviewing,
): Promise<Response> {
  const { parts, errors: [error] } = await scanJsonInSlices(bytes, {
    maxValues,
    pause: () => slices.pause(),
  });
  if (error) throw new Refusal(400, `Cannot read the review: ${error.message}`);
  await slices.pause();
  const request = parts.length > 1 ? { problem: "expected one document" } : readReview(parts[0]?.read());
  if ("problem" in request) throw new Refusal(400, `Cannot read the review: ${request.problem}`);
  const judgement = judgeAdmission(request, rules);
  const unsaid = judgement.allowed ? undefined : linesLeftOut();
  if (!judgement.allowed && unsaid !== undefined) {
    log.warn("Write refused", {
      user: request.username,
      operation: request.operation,
      resource: request.resource,
      subResource: request.subResource,
      reason: judgement.message,
      client,
      requests: unsaid + 1,
      correlationId: requestIdOf(c),
    });
  }
  return c.json(answerReview(request, judgement));
}
