import type { Context } from "hono";
import type { Payload } from "../model/event.ts";
import type { PayloadError } from "../model/outcome.ts";
import { EMPTY_BODY, readDocuments, requestBodyOf } from "../text/documents.ts";
import { logger } from "../telemetry/logging.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { throttle } from "../telemetry/throttle.ts";
import { type EndpointAuth, validSignature } from "./auth.ts";
import { type ByteBudget, readBody } from "./body.ts";
import { type AddressSet, clientAddress } from "./client.ts";
import { problem, Refusal, requestIdOf } from "./problem.ts";
import { checkProof, missingSecret } from "./proof.ts";

/** What became of the events of one request. */
export interface Answer {
  readonly received: number;
  readonly created: number;
  readonly deduped: number;
  readonly filtered: number;
  readonly failed: number;
  /** Events that time or an admin can still get in: the sender is told to come again. */
  readonly undecided: number;
  /** How long the sender should wait before that, in seconds. */
  readonly retryAfterSeconds: number;
  /** The first of them; `errorCount` counts all, where there are more. */
  readonly errors: readonly PayloadError[];
  readonly errorCount?: number;
}

/** A path that takes events. */
export interface WebhookEndpoint {
  /** Without the token: `/falco/webhook`. Also the `endpoint` label. */
  readonly path: string;
  readonly source: string;
  readonly auth: EndpointAuth;
  readonly ackTimeoutMs: number;
  /** Requests that may be waiting for their answer at once. */
  readonly maxWaiting: number;
  take(payload: Payload, context: { signal: AbortSignal; correlationId: string }): Promise<Answer>;
  /** What to tell a sender whose body is no JSON. */
  readonly unreadableHint?: string;
  /** A body that is no JSON at all: an error of the source, counted. */
  unreadable(error: PayloadError, correlationId: string): void;
}

export interface WebhookOptions {
  /** The endpoints in force now, by path. */
  readonly endpoints: () => ReadonlyMap<string, WebhookEndpoint>;
  readonly token: () => string;
  /** True where client certificates are asked for: without a token nothing else proves who sends. */
  readonly clientCertificates: boolean;
  readonly allowedIps: AddressSet;
  readonly trustedProxies: AddressSet;
  /** False where this client is over its limit. */
  readonly allow: (client: string) => boolean;
  readonly budget: ByteBudget;
  readonly maxBytes: number;
  readonly now: () => number;
  /** Aborted when requests under way must end. */
  readonly signal: AbortSignal;
  readonly metrics: Metrics;
}

const log = logger("webhook");
const MAX_ERRORS_SHOWN = 10;
/** One warning in this time for each endpoint and status, however many requests are refused. */
const REFUSED_LOG_MS = 60_000;
/** What a client's limit refuses, it may send a second later. */
const LIMIT_RETRY_SECONDS = "1";

/** The endpoint a path names, and the token in its last segment if it has one there. Paths are compared decoded. */
export function findEndpoint(
  path: string,
  endpoints: ReadonlyMap<string, WebhookEndpoint>,
): { endpoint: WebhookEndpoint; token?: string } | undefined {
  // A token in base64 has characters that a path cannot hold as they are: each segment is decoded by itself.
  const segments = path.split("/").map(decoded);
  const exact = endpoints.get(segments.join("/"));
  if (exact) return { endpoint: exact };
  const token = segments.pop() ?? "";
  const parent = endpoints.get(segments.join("/"));
  return parent && (token === "" ? { endpoint: parent } : { endpoint: parent, token });
}

/** A segment with its percent-escapes resolved; as it is where they are broken. */
function decoded(segment: string): string {
  if (!segment.includes("%")) return segment;
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

/** Answers one webhook request. */
export function createWebhookHandler(options: WebhookOptions) {
  const waiting = new Map<string, number>();
  const sayRefused = refusalLog(options);
  return async function handle(c: Context, client: Client): Promise<Response | undefined> {
    const found = findEndpoint(c.req.path, options.endpoints());
    if (!found) return undefined;
    const { endpoint } = found;
    const { metrics } = options;
    const labels = { endpoint: metrics.endpointLabel(endpoint.path) };
    const now = waiting.get(endpoint.path) ?? 0;
    const settle = (by: 1 | -1) => {
      const count = (waiting.get(endpoint.path) ?? 0) + by;
      if (count > 0) waiting.set(endpoint.path, count);
      else waiting.delete(endpoint.path);
      metrics.webhookQueueUsage.inc(labels, by);
    };
    settle(1);
    let response: Response;
    try {
      if (c.req.method !== "POST") {
        throw new Refusal(405, "Cannot take this request: use POST", { allow: "POST" });
      }
      checkSender(c, { ...client, endpoint, token: found.token, options });
      if (now >= endpoint.maxWaiting) {
        throw new Refusal(503, "Cannot take this request: too many are waiting, come again", {
          "retry-after": "1",
        });
      }
      response = await takeBody(c, endpoint, options);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      metrics.webhookDropped.inc(labels);
      sayRefused(c, { refusal: error, endpoint, peer: client.peer });
      response = problem(c, error);
    } finally {
      settle(-1);
    }
    metrics.webhookRequests.inc({ ...labels, status: response.status });
    return response;
  };
}

/** A sender that is always refused must not stay unseen, nor fill the log: neither token nor body is in a line. */
function refusalLog({ trustedProxies, now }: WebhookOptions) {
  const throttled = throttle({ lines: 1, windowMs: REFUSED_LOG_MS, now });
  return (c: Context, { refusal, endpoint, peer }: {
    refusal: Refusal;
    endpoint: WebhookEndpoint;
    peer: string;
  }): void => {
    const fields = {
      endpoint: endpoint.path,
      status: refusal.status,
      client: clientAddress(peer, c.req.header("x-forwarded-for"), trustedProxies),
      error: refusal.message,
      correlationId: requestIdOf(c),
    };
    const unsaid = throttled(`${refusal.status} ${endpoint.path}`);
    if (unsaid === undefined) log.debug("Webhook request refused", fields);
    else log.warn("Webhook requests refused", { ...fields, requests: unsaid + 1 });
  };
}

/** Who is at the other end. */
export interface Client {
  /** The peer's address. */
  readonly peer: string;
  /** It showed a certificate of the clients' CA, which stands for the settings' token. */
  readonly clientVerified?: boolean;
}

interface Sender extends Client {
  readonly endpoint: WebhookEndpoint;
  readonly token: string | undefined;
  readonly options: WebhookOptions;
}

function checkSender(c: Context, sender: Sender): void {
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
  checkProof(c, { ...sender, auth: sender.endpoint.auth });
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
}

async function takeBody(c: Context, endpoint: WebhookEndpoint, options: WebhookOptions): Promise<Response> {
  const correlationId = requestIdOf(c);
  using deadline = deadlineOf(options.signal, endpoint.ackTimeoutMs);
  using body = await readBody(c.req.raw, {
    maxBytes: options.maxBytes,
    budget: options.budget,
    timeoutMs: endpoint.ackTimeoutMs,
    signal: options.signal,
  });
  if (endpoint.auth.type === "hmac") {
    const secret = endpoint.auth.secret();
    if (secret === undefined) throw missingSecret();
    if (!validSignature(c.req.header("x-hub-signature-256"), body.bytes, secret)) {
      throw new Refusal(401, "Cannot take this request: its X-Hub-Signature-256 is not valid for this body");
    }
  }
  const documents = readDocuments(new TextDecoder().decode(body.bytes));
  const { errors } = documents;
  for (const error of errors) endpoint.unreadable(error, correlationId);
  const parsed = requestBodyOf(documents);
  if (parsed === undefined) return unreadable(c, endpoint, errors);
  const payload: Payload = {
    body: parsed,
    origin: { confined: false },
    receivedAt: options.now(),
  };
  const answer = await endpoint.take(payload, { signal: deadline.signal, correlationId });
  const errorCount = errors.length + (answer.errorCount ?? answer.errors.length);
  return answerResponse(c, { ...answer, errors: [...errors, ...answer.errors], errorCount });
}

/**
 * A signal for one request that leaves nothing behind: thousands of `AbortSignal.timeout` and `AbortSignal.any`
 * would stay on the process's signal until their time is up.
 */
function deadlineOf(outer: AbortSignal, ms: number): Disposable & { readonly signal: AbortSignal } {
  const controller = new AbortController();
  const abort = () => controller.abort(new DOMException("the deadline is over", "TimeoutError"));
  const timer = setTimeout(abort, ms);
  if (outer.aborted) abort();
  outer.addEventListener("abort", abort, { once: true });
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      clearTimeout(timer);
      outer.removeEventListener("abort", abort);
    },
  };
}

/** Nothing in the body is JSON. */
function unreadable(c: Context, endpoint: WebhookEndpoint, errors: readonly PayloadError[]): Response {
  const error = errors[0] ?? EMPTY_BODY;
  if (errors.length === 0) endpoint.unreadable(EMPTY_BODY, requestIdOf(c));
  const hint = endpoint.unreadableHint ? `. ${endpoint.unreadableHint}` : "";
  return problem(c, new Refusal(400, `Cannot read the body: ${error.message}${hint}`), { path: error.path });
}

/** 200 when all is decided, 503 while anything may still get in, 422 where nothing ever will, 400 where nothing could be read. */
function answerResponse(c: Context, answer: Required<Answer>): Response {
  const { received, created, deduped, filtered, failed, errors, errorCount } = answer;
  const counts = { received, created, deduped, filtered, failed };
  const shown = errors.length > 0 ? { errors: errors.slice(0, MAX_ERRORS_SHOWN), errorCount } : {};
  if (answer.undecided > 0) {
    const refusal = new Refusal(
      503,
      "Cannot store every event now: come again, what is stored will not be doubled",
      {
        "retry-after": String(answer.retryAfterSeconds),
      },
    );
    return problem(c, refusal, { ...counts, ...shown });
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
    return problem(c, new Refusal(400, why), shown);
  }
  if (received > 0 && failed === received) {
    return problem(c, new Refusal(422, "Cannot store these events: the API server will never take them"), {
      ...counts,
      ...shown,
    });
  }
  return c.json({ status: "ok", ...counts, requestId: requestIdOf(c), ...shown });
}
