import type { Context } from "hono";
import type { Clock } from "../model/time.ts";
import type { PayloadError } from "../model/outcome.ts";
import { type IntakeResult, readInTurn } from "../pipeline/intake.ts";
import { type Post, type PostFeeds, roomOf } from "../sources/feeds/post.ts";
import type { FeedAuth } from "../sources/source.ts";
import type { TimeSlices } from "../pipeline/limits.ts";
import { payloadErrorsOf, scanJsonInTurns } from "../text/json.ts";
import { logger } from "../telemetry/logging.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { throttle } from "../telemetry/throttle.ts";
import {
  type AddressSet,
  checkProof,
  clientAddress,
  createWaitingRooms,
  missingSecret,
  type Seat,
  signatureCheck,
} from "./sender.ts";
import { type Body, type BodyLimits, readBody } from "./body.ts";
import { problem, Refusal, requestIdOf } from "./problem.ts";

export interface WebhookOptions {
  /** The post feeds in force. */
  readonly posts: Posts;
  readonly token: () => string;
  /** True where the port asks for client certificates: without a token nothing else identifies a sender. */
  readonly clientCertificates: boolean;
  readonly allowedIps: AddressSet;
  readonly trustedProxies: AddressSet;
  /** False where this client is over its limit. */
  readonly allow: (client: string) => boolean;
  readonly bodies: BodyLimits;
  readonly slices: TimeSlices;
  readonly clock: Clock;
  /** Aborted when requests under way must end. */
  readonly signal: AbortSignal;
  readonly metrics: Metrics;
  readonly random?: () => number;
}

/** What takes the events that are posted. */
export type Posts = Pick<PostFeeds, "find" | "paths" | "take" | "unreadable">;

const log = logger("webhook");
const MAX_ERRORS_SHOWN = 10;
/** One warning in this time for each endpoint and status, however many requests are refused. */
const REFUSED_LOG_MS = 60_000;
/** What a client's limit refuses, it may send a second later. */
const LIMIT_RETRY_SECONDS = "1";
/** Seconds of `Retry-After` when something could not be stored. */
const RETRY_AFTER_SECONDS = { min: 1, spread: 4 };
const DEFAULT_AUTH: FeedAuth = { type: "default" };

/** Answers one webhook request. */
export function createWebhookHandler(options: WebhookOptions) {
  const rooms = createWaitingRooms();
  const sayRefused = refusalLog(options);
  return async function handle(c: Context, client: Client): Promise<Response | undefined> {
    const found = options.posts.find(c.req.path);
    if (!found) return undefined;
    const { post } = found;
    const { metrics } = options;
    const labels = { endpoint: metrics.endpointLabel(post.feed.path) };
    let seat: Seat | undefined;
    let response: Response;
    try {
      if (c.req.method !== "POST") {
        throw new Refusal(405, "Cannot take this request: use POST", { allow: "POST" });
      }
      const sender = checkSender(c, { ...client, post, token: found.token, options });
      seat = rooms.enter(roomOf(post), sender.address);
      if (!seat) {
        throw new Refusal(503, "Cannot take this request: too many are waiting, come again", {
          "retry-after": "1",
        });
      }
      metrics.webhookQueueUsage.inc(labels, 1);
      response = await takeBody(c, { ...sender, post, options, seat });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      metrics.webhookDropped.inc(labels);
      sayRefused(c, { refusal: error, path: post.feed.path, peer: client.peer });
      response = problem(c, error);
    } finally {
      if (seat) metrics.webhookQueueUsage.inc(labels, -1);
      seat?.leave();
    }
    metrics.webhookRequests.inc({ ...labels, status: response.status });
    return response;
  };
}

/** A sender that is always refused must not stay unseen, nor fill the log: neither token nor body is in a line. */
function refusalLog({ trustedProxies, clock }: WebhookOptions) {
  const throttled = throttle({ lines: 1, windowMs: REFUSED_LOG_MS, now: () => clock.now() });
  return (c: Context, { refusal, path, peer }: {
    readonly refusal: Refusal;
    readonly path: string;
    readonly peer: string;
  }): void => {
    const fields = {
      endpoint: path,
      status: refusal.status,
      client: clientAddress(peer, c.req.header("x-forwarded-for"), trustedProxies),
      error: refusal.message,
      correlationId: requestIdOf(c),
    };
    const unsaid = throttled(`${refusal.status} ${path}`);
    if (unsaid === undefined) log.debug("Webhook request refused", fields);
    else log.warn("Webhook requests refused", { ...fields, requests: unsaid + 1 });
  };
}

/** Who is at the other end. */
export interface Client {
  /** The peer's address. */
  readonly peer: string;
  /** It presented a certificate of the client CA, which replaces the token. */
  readonly clientVerified?: boolean;
}

interface Sender extends Client {
  readonly post: Post;
  readonly token: string | undefined;
  readonly options: WebhookOptions;
}

/** A sender that may send. */
interface Admitted {
  readonly address: string;
  /** It showed a token or a certificate. */
  readonly isProven: boolean;
}

function checkSender(c: Context, sender: Sender): Admitted {
  const { peer, options } = sender;
  const client = clientAddress(peer, c.req.header("x-forwarded-for"), options.trustedProxies);
  if (!options.allowedIps.empty && !options.allowedIps.has(client)) {
    throw new Refusal(
      403,
      "Cannot take this request: the client's address is not allowed (WEBHOOK_ALLOWED_IPS)",
    );
  }
  if (!options.allow(client)) {
    throw new Refusal(503, "Cannot take this request: the client sends too many (WEBHOOK_RATE_LIMIT)", {
      "retry-after": LIMIT_RETRY_SECONDS,
    });
  }
  const isProven = checkProof(c, { ...sender, auth: authOf(sender.post) });
  const encoding = c.req.header("content-encoding");
  if (encoding !== undefined && encoding.toLowerCase() !== "identity") {
    throw new Refusal(
      415,
      `Cannot read the body: compressed bodies are not taken (Content-Encoding: ${encoding})`,
      {
        "accept-encoding": "identity",
      },
    );
  }
  return { address: client, isProven };
}

function authOf({ feed: { auth = DEFAULT_AUTH } }: Post): FeedAuth {
  return auth;
}

interface Taking extends Admitted {
  readonly seat: Seat;
  readonly post: Post;
  readonly options: WebhookOptions;
}

async function takeBody(c: Context, taking: Taking): Promise<Response> {
  const { post, options, seat } = taking;
  const { posts, bodies: { maxValues, room }, slices } = options;
  const correlationId = requestIdOf(c);
  using deadline = deadlineOf(options.signal, post.ackTimeoutMs);
  using body = await readProvenBody(c, taking);
  const { lists = "elements" } = post.source;
  const text = await scanJsonInTurns(body.bytes, { lists, maxValues, turn: () => slices.turn() });
  const bodyErrors = payloadErrorsOf(text);
  for (const error of bodyErrors) {
    await slices.turn();
    posts.unreadable(post, error, correlationId);
  }
  if (text.tooMany || text.parts.length === 0) return unreadable(c, post, bodyErrors);
  const receivedAt = options.clock.now();
  const common = { origin: { confined: false }, receivedAt };
  const reading = readInTurn(text.parts, { ...common, room, signal: deadline.signal });
  const request = {
    signal: deadline.signal,
    correlationId,
    receivedAt,
    onOnlyNamespace(namespace: string | undefined) {
      if (!seat.only(namespace || undefined)) deadline.abort();
    },
  };
  const result = await posts.take(post, reading.payloads, request);
  return answer(c, { result, bodyErrors, isCutShort: reading.isCutShort, options });
}

/** The body of a sender that has proven itself, or need not. Until then it takes memory that is kept for such bodies. */
async function readProvenBody(c: Context, { address, isProven, post, options }: Taking): Promise<Body> {
  const { bodies, signal } = options;
  const auth = authOf(post);
  const secret = auth.type === "hmac" ? auth.secret() : "";
  if (secret === undefined) throw missingSecret();
  const signature = auth.type === "hmac" ? signatureCheck(secret) : undefined;
  const body = await readBody(c.req.raw, {
    maxBytes: bodies.maxBytes,
    budget: isProven ? bodies.proven : bodies.unproven,
    large: bodies.large,
    sender: address,
    timeoutMs: post.ackTimeoutMs,
    signal,
    ...(signature && { onBytes: signature.update }),
  });
  if (!signature) return body;
  if (signature.matches(c.req.header("x-hub-signature-256"))) {
    body.leaveBudget();
    return body;
  }
  body[Symbol.dispose]();
  throw new Refusal(401, "Cannot take this request: its X-Hub-Signature-256 is not valid for this body");
}

interface Deadline extends Disposable {
  readonly signal: AbortSignal;
  /** Ends the request now. */
  abort(): void;
}

/**
 * A signal for one request that leaves nothing behind: thousands of `AbortSignal.timeout` and `AbortSignal.any`
 * would stay on the process's signal until their time is up.
 */
function deadlineOf(outer: AbortSignal, ms: number): Deadline {
  const controller = new AbortController();
  const abort = () => controller.abort(new DOMException("the deadline is over", "TimeoutError"));
  const timer = setTimeout(abort, ms);
  if (outer.aborted) abort();
  outer.addEventListener("abort", abort, { once: true });
  return {
    signal: controller.signal,
    abort,
    [Symbol.dispose]() {
      clearTimeout(timer);
      outer.removeEventListener("abort", abort);
    },
  };
}

/** Nothing in the body can be taken. Throws the refusal of a body that holds more than may be: it was not parsed. */
function unreadable(c: Context, post: Post, errors: readonly PayloadError[]): Response {
  const excess = errors.find(isTooMuch);
  const { message = "", path = "" } = excess ?? errors[0] ?? {};
  if (excess) throw new Refusal(413, `Cannot read the body: ${path === "" ? "" : `at ${path}: `}${message}`);
  const { unreadableHint } = post.feed;
  const hint = unreadableHint ? `. ${unreadableHint}` : "";
  return problem(c, new Refusal(400, `Cannot read the body: ${message}${hint}`), { path });
}

function isTooMuch({ reason }: PayloadError): boolean {
  return reason === "too_deep" || reason === "too_large" || reason === "too_many_events";
}

/** 200 when all is decided, 503 while anything may still get in, 422 where nothing ever will, 400 where nothing could be read. */
function answer(
  c: Context,
  { result, bodyErrors, isCutShort, options: { random = Math.random } }: {
    readonly result: IntakeResult;
    /** Parts of the body that are not JSON. */
    readonly bodyErrors: readonly PayloadError[];
    /** The deadline came before there was memory to read all of the body. */
    readonly isCutShort: boolean;
    readonly options: WebhookOptions;
  },
): Response {
  const { received, created, deduped, filtered, failed } = result;
  const errors = [...bodyErrors, ...result.payloadErrors];
  const errorCount = bodyErrors.length + result.payloadErrorCount;
  const counts = { received, created, deduped, filtered, failed };
  const shown = errors.length > 0 ? { errors: errors.slice(0, MAX_ERRORS_SHOWN), errorCount } : {};
  if (result.undecided > 0 || isCutShort) {
    const why = "Cannot store every event now: come again, what is stored will not be doubled";
    const seconds = RETRY_AFTER_SECONDS.min + Math.floor(random() * RETRY_AFTER_SECONDS.spread);
    return problem(c, new Refusal(503, why, { "retry-after": String(seconds) }), { ...counts, ...shown });
  }
  if (errors.some(({ reason }) => reason === "too_many_events")) {
    const why =
      "Cannot take more events in one request: the first are decided, send the rest in smaller ones";
    return problem(c, new Refusal(413, why), { ...counts, ...shown });
  }
  if (received === 0 && errors.length > 0) {
    const why = `Cannot read the body: ${errors[0]?.path ? `at ${errors[0].path}: ` : ""}${
      errors[0]?.message
    }`;
    return problem(c, new Refusal(errors.some(isTooMuch) ? 413 : 400, why), shown);
  }
  if (received > 0 && failed === received) {
    return problem(c, new Refusal(422, "Cannot store these events: the API server will never take them"), {
      ...counts,
      ...shown,
    });
  }
  return c.json({ status: "ok", ...counts, requestId: requestIdOf(c), ...shown });
}
