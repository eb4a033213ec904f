import { type Context, Hono } from "hono";
import { type Metrics, OTHER } from "../telemetry/metrics.ts";
import { ADMISSION_PATH, type AdmissionOptions, createAdmissionHandler } from "./admission.ts";
import {
  type AddressSet,
  answerDefect,
  type Body,
  type BodyLimits,
  checkProof,
  clientAddress,
  createWaitingRooms,
  full,
  missingSecret,
  problem,
  readBody,
  Refusal,
  requestIdOf,
  type Room,
  type Seat,
  signatureCheck,
  tooManyRequests,
} from "./request.ts";
import type { WebhookToken } from "./reread.ts";
import type { Clock } from "../model/time.ts";
import type { Intake, IntakeResult, PayloadParts, TakeContext } from "../pipeline/intake.ts";
import { readInTurn, type TimeSlices } from "../pipeline/limits.ts";
import { type FeedAuth, type PostFeed, type Source, viewOf } from "../sources/source.ts";
import {
  JSON_LIMITS,
  JSON_SLICE_BYTES,
  type JsonText,
  payloadErrorsOf,
  scanJson,
  scanJsonInSlices,
} from "../text/json.ts";
import { logger } from "../telemetry/logging.ts";
import { throttle } from "../telemetry/throttle.ts";
import type { PayloadError } from "../model/outcome.ts";
import type { SettingValues } from "../text/setting.ts";
import type { SourceStates } from "../sources/status.ts";

/** What Hono is given beside the request. */
export interface Bindings {
  /** The peer's address. */
  readonly peer: string;
  readonly isTls?: boolean;
  /** It showed a certificate of the clients' CA. */
  readonly clientVerified?: boolean;
}

/** The answer of a probe. */
export interface ProbeReport {
  readonly ok: boolean;
  /** Why not. */
  readonly reasons: readonly string[];
  /** Each condition and whether it holds, for `?verbose`. */
  readonly checks: Readonly<Record<string, boolean>>;
}

export interface HttpOptions extends WebhookOptions, AdmissionOptions {
  readonly version: string;
  readonly live: () => ProbeReport;
  readonly ready: () => ProbeReport;
  /** The document of `/tools/status`. No payload text. */
  readonly status: () => Readonly<Record<string, unknown>>;
  /** False until the Ingesters were read: a path that is not known yet may be theirs. */
  readonly pathsKnown: () => boolean;
}

const log = logger("http");
const ROUTES = new Set([
  "/health",
  "/livez",
  "/ready",
  "/readyz",
  "/tools/status",
]);

/** The type of the app, for those who may not know Hono. */
export type HttpApp = Hono<{ Bindings: Bindings }>;

/** The one app: probes, metrics, status and webhooks. */
export function createHttpApp(options: HttpOptions): HttpApp {
  const app = new Hono<{ Bindings: Bindings }>();
  const handleWebhook = createWebhookHandler(options);
  // The built-in ones keep their names, however many Ingesters add.
  for (const path of options.posts.paths) options.metrics.endpointLabel(path);
  app.use(async (c, next) => {
    const startedAt = performance.now();
    await next();
    const endpoint = endpointLabel(c.req.path, options);
    const labels = { endpoint, method: methodLabel(c.req.method) };
    options.metrics.httpRequests.inc({ ...labels, status: c.res.status });
    options.metrics.httpRequestDuration.observe(labels, (performance.now() - startedAt) / 1_000);
    c.header("x-request-id", requestIdOf(c));
  });
  for (const path of ["/health", "/livez"]) app.get(path, (c) => c.json(...health(options, c.req.query())));
  for (const path of ["/ready", "/readyz"]) {
    app.get(path, (c) => c.json(...readiness(options, c.req.query())));
  }
  const status = sparingly(() => JSON.stringify(options.status()), options.clock);
  app.get("/tools/status", (c) => c.body(status(), 200, { "content-type": "application/json" }));
  for (const path of ROUTES) {
    app.all(
      path,
      (c) => problem(c, new Refusal(405, "Cannot answer this request: use GET", { allow: "GET, HEAD" })),
    );
  }
  const admission = createAdmissionHandler(options);
  app.all(ADMISSION_PATH, (c) => admission(c, c.env));
  app.all("*", async (c) => {
    const response = await handleWebhook(c, c.env);
    if (response) return response;
    if (options.pathsKnown()) return problem(c, new Refusal(404, "Cannot find this path"));
    const why = "Cannot find this path yet: the Ingesters are not read, come again";
    return problem(c, new Refusal(503, why, { "retry-after": "1" }));
  });
  app.onError((error, c) => answerDefect(c, { error, path: endpointLabel(c.req.path, options) }));
  return app;
}

/** A document that takes longer to make is given to several requests. */
const FREE_MAKING_MS = 2;

/** Makes a text when it is asked for. Where that took long, gives it again for four times as long: anyone may ask. */
function sparingly(make: () => string, clock: Pick<Clock, "monotonic">): () => string {
  let text = "";
  let until = -Infinity;
  return () => {
    const startedAt = clock.monotonic();
    if (startedAt < until) return text;
    text = make();
    const madeAt = clock.monotonic();
    const tookMs = madeAt - startedAt;
    until = tookMs > FREE_MAKING_MS ? madeAt + 4 * tookMs : madeAt;
    return text;
  };
}

function health({ version, live, clock }: HttpOptions, query: Record<string, string>) {
  const report = live();
  const body = {
    status: report.ok ? "healthy" : "unhealthy",
    service: "zen-watcher",
    version,
    mode: "independent",
    timestamp: new Date(clock.now()).toISOString(),
    ...(report.ok ? {} : { reasons: report.reasons }),
    ...("verbose" in query ? { checks: report.checks } : {}),
  };
  return [body, report.ok ? 200 : 503] as const;
}

function readiness({ ready }: HttpOptions, query: Record<string, string>) {
  const report = ready();
  const body = {
    ...(report.ok ? { status: "ready" } : { status: "not_ready", reasons: report.reasons }),
    ...("verbose" in query ? { checks: report.checks } : {}),
  };
  return [body, report.ok ? 200 : 503] as const;
}

/** A label of bounded values: the route, or an endpoint's path without its token. */
function endpointLabel(path: string, options: HttpOptions): string {
  if (ROUTES.has(path) || path === ADMISSION_PATH) return path;
  const found = options.posts.find(path);
  return found ? options.metrics.endpointLabel(found.post.feed.path) : OTHER;
}

function methodLabel(method: string): string {
  return ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].includes(method) ? method : "other";
}

export interface WebhookOptions {
  /** The post feeds in force. */
  readonly posts: Posts;
  readonly token: WebhookToken;
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

/** The part that takes posted events. */
export type Posts = Pick<PostFeeds, "find" | "paths" | "take" | "unreadable">;

const MAX_ERRORS_SHOWN = 10;
/** One warning in this time for each endpoint and status, however many requests are refused. */
const REFUSED_LOG_MS = 60_000;
/** Seconds of `Retry-After` when something could not be stored. */
const RETRY_AFTER_SECONDS = { min: 1, spread: 4 };
/** Why a request ends whose events keep requests of other namespaces out of the waiting room. */
const CROWDED = "requests whose events are all of its namespace take their part of the waiting room";
/** The status of a request whose handler threw. */
const INTERNAL_ERROR = 500;
const DEFAULT_AUTH: FeedAuth = { type: "default" };

/** Answers one webhook request. */
export function createWebhookHandler(options: WebhookOptions) {
  const rooms = createWaitingRooms();
  const sayRefused = refusalLog(options);
  return async function handle(c: Context, client: Client): Promise<Response | undefined> {
    const found = options.posts.find(c.req.path);
    if (!found) return undefined;
    const { post } = found;
    const labels = { endpoint: options.metrics.endpointLabel(post.feed.path) };
    let seat: Seat | undefined;
    let isWaiting = false;
    let response: Response | undefined;
    try {
      if (c.req.method !== "POST") {
        throw new Refusal(405, "Cannot take this request: use POST", { allow: "POST" });
      }
      const sender = checkSender(c, { ...client, post, token: found.token, options });
      const sitIn = (room: Room): Seat => {
        seat?.leave();
        seat = rooms.enter(room, sender.address);
        if (seat) return seat;
        const why = "Cannot take this request: too many are waiting, come again";
        throw new Refusal(503, why, { "retry-after": "1" });
      };
      sitIn(authOf(post).type === "hmac" ? UNPROVEN_ROOM : roomOf(post));
      isWaiting = true;
      options.metrics.webhookQueueUsage.inc(labels, 1);
      response = await takeBody(c, { ...sender, post, options, sitIn });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      options.metrics.webhookDropped.inc(labels);
      sayRefused(c, { refusal: error, path: post.feed.path, peer: client.peer });
      response = problem(c, error);
    } finally {
      if (isWaiting) options.metrics.webhookQueueUsage.inc(labels, -1);
      seat?.leave();
      options.metrics.webhookRequests.inc({ ...labels, status: response?.status ?? INTERNAL_ERROR });
    }
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

/** The client that sends a request. */
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
  if (!options.allow(client)) throw tooManyRequests();
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
  /** Leaves the room before. Throws where this one is full. */
  readonly sitIn: (room: Room) => Seat;
  readonly post: Post;
  readonly options: WebhookOptions;
}

async function takeBody(c: Context, taking: Taking): Promise<Response> {
  const { post, address, options, sitIn } = taking;
  const { posts, bodies: { room }, slices } = options;
  const correlationId = requestIdOf(c);
  using deadline = deadlineOf(options.signal, post.ackTimeoutMs);
  using body = await readProvenBody(c, taking);
  const seat = sitIn(roomOf(post));
  using text = await findParts(body.bytes, taking);
  const bodyErrors = payloadErrorsOf(text);
  for (const error of bodyErrors) {
    await slices.pause();
    posts.unreadable(post, error, correlationId);
  }
  if (text.tooMany || text.parts.length === 0) return unreadable(c, post, bodyErrors);
  const receivedAt = options.clock.now();
  const common = { origin: { confined: false }, receivedAt };
  const reading = readInTurn(text.parts, { ...common, room, sender: address, signal: deadline.signal });
  const request = {
    signal: deadline.signal,
    correlationId,
    onOnlyNamespace(namespace: string | undefined) {
      if (!seat.only(namespace || undefined)) deadline.abort(CROWDED);
    },
  };
  const result = await posts.take(post, reading.payloads, request);
  return answer(c, { result, bodyErrors, isCutShort: reading.isCutShort, options });
}

/** What a part or an error of a body takes until it is read: measured 185 bytes, and 500. */
const PART_BYTES = 192, ERROR_BYTES = 512;
/** Up to `FREE_FOUND_BYTES` found take no room; bodies of up to `SHORT_BYTES` are scanned even where there is none. */
const FREE_FOUND_BYTES = 64 * 1024, SHORT_BYTES = 4 * 1024;

/** Finds the parts of a body. Throws where those of other bodies, or of other ones of its sender, take all the room. */
async function findParts(
  bytes: Uint8Array,
  { post: { source: { lists = "elements" } }, address, options: { slices, bodies: { found, maxValues } } }:
    Taking,
): Promise<JsonText & Disposable> {
  let held = 0;
  const hold = (needed: number) => {
    found.release(held, address);
    held = 0;
    if (needed > 0 && !found.tryTake(needed, address)) throw full();
    held = needed;
  };
  // A body of one slice is counted after the scan, in the same turn. A longer one pauses, so the most it may have is taken before.
  const most = PART_BYTES * Math.min(JSON_LIMITS.parts, bytes.length / 2);
  const isLong = bytes.length > JSON_SLICE_BYTES;
  if (isLong) hold(most);
  else if (bytes.length > SHORT_BYTES && !found.hasRoom(most, address)) throw full();
  const how = { lists, maxValues, pause: () => slices.pause() };
  const text = isLong ? await scanJsonInSlices(bytes, how) : scanJson(bytes, how);
  const needed = PART_BYTES * text.parts.length + ERROR_BYTES * text.errors.length;
  hold(needed > FREE_FOUND_BYTES ? needed : 0);
  return { ...text, [Symbol.dispose]: () => found.release(held, address) };
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
    bound: bodies.bound,
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

interface RequestDeadline extends Disposable {
  readonly signal: AbortSignal;
  /** Ends the request now; events that are not written yet fail for this reason. */
  abort(why: string): void;
}

/**
 * A signal for one request that leaves nothing behind: thousands of `AbortSignal.timeout` and `AbortSignal.any`
 * would stay on the process's signal until their time is up.
 */
function deadlineOf(outer: AbortSignal, ms: number): RequestDeadline {
  const controller = new AbortController();
  const abort = (why: string) => controller.abort(new DOMException(why, "TimeoutError"));
  const stop = () => abort("zen-watcher is stopping");
  const timer = setTimeout(() => abort("the deadline of its request is over"), ms);
  if (outer.aborted) stop();
  outer.addEventListener("abort", stop, { once: true });
  return {
    signal: controller.signal,
    abort,
    [Symbol.dispose]() {
      clearTimeout(timer);
      outer.removeEventListener("abort", stop);
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

/**
 * 503 while an event may be stored later, 413 for too much, 400 if nothing can be read, 422 if no event can ever be stored,
 * else 200. docs/runbooks/nothing-created.md lists all answers of webhooks.
 */
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
    const { path = "", message = "" } = errors[0] ?? {};
    const why = `Cannot read the body: ${path === "" ? "" : `at ${path}: `}${message}`;
    return problem(c, new Refusal(errors.some(isTooMuch) ? 413 : 400, why), shown);
  }
  if (received > 0 && failed === received) {
    const why = "Cannot store these events: the API server will never take them";
    return problem(c, new Refusal(422, why), { ...counts, ...shown });
  }
  return c.json({ status: "ok", ...counts, requestId: requestIdOf(c), ...shown });
}

/** A post feed and its source. */
export interface Post {
  readonly source: Source;
  readonly feed: PostFeed;
  /** The deadline of an answer. */
  readonly ackTimeoutMs: number;
}

export interface PostFeedsOptions {
  readonly intake: Intake;
  readonly settings: SettingValues;
  /** WEBHOOK_ACK_TIMEOUT, for feeds that have no `ackTimeout`. */
  readonly ackTimeoutMs: number;
  readonly states: SourceStates;
  readonly payloadError: (source: string, error: PayloadError, correlationId: string) => void;
  /** Called with the number of events of an Ingester. */
  readonly noteEvents: (ingester: string, count: number) => void;
}

/** Most requests that wait at once, for all sources together that have no `waiting`. */
const SHARED_WAITING = 100;

/** The post feeds of this process. */
export class PostFeeds {
  readonly #options: PostFeedsOptions;
  #byPath: ReadonlyMap<string, Post> = new Map();

  constructor(options: PostFeedsOptions) {
    this.#options = options;
  }

  /** Replaces the sources. */
  set(sources: readonly Source[]): void {
    const { states } = this.#options;
    const before = this.#byPath;
    this.#byPath = new Map(sources.flatMap((source) => this.#postsOf(source)));
    for (const [path, post] of before) {
      if (!this.#byPath.has(path)) states.forget(viewOf(post, { resource: path }));
    }
    for (const [path, post] of this.#byPath) states.set(viewOf(post, { resource: path }), "serving");
  }

  /** The active paths, without tokens. */
  get paths(): readonly string[] {
    return [...this.#byPath.keys()];
  }

  /** The feed of a path, and the token if the path's last segment is one. Paths are compared decoded. */
  find(path: string): { readonly post: Post; readonly token?: string } | undefined {
    // A token in base64 can have characters that are escaped in a path, so each segment is decoded separately.
    const segments = path.split("/").map(decoded);
    const exact = this.#byPath.get(segments.join("/"));
    if (exact) return { post: exact };
    const token = segments.pop() ?? "";
    const post = this.#byPath.get(segments.join("/"));
    return post && (token === "" ? { post } : { post, token });
  }

  #postsOf(source: Source): [path: string, post: Post][] {
    const { settings, ackTimeoutMs } = this.#options;
    return source.feeds.flatMap((feed): [string, Post][] => {
      if (feed.type !== "post") return [];
      const { path, ackTimeout } = feed;
      return [[path, { source, feed, ackTimeoutMs: ackTimeout ? settings.of(ackTimeout) : ackTimeoutMs }]];
    });
  }

  /** The longest of all deadlines. A door has that of its source or the default one, so that later ones are none longer. */
  get longestAckTimeoutMs(): number {
    return Math.max(
      this.#options.ackTimeoutMs,
      ...[...this.#byPath.values()].map((post) => post.ackTimeoutMs),
    );
  }

  /** Resolves once every event of the payload's parts has its outcome. */
  async take(
    { source, feed }: Post,
    parts: PayloadParts,
    context: Pick<TakeContext, "signal" | "correlationId" | "onOnlyNamespace">,
  ): Promise<IntakeResult> {
    const result = await this.#options.intake.take(source, parts, { feed, ...context });
    if (result.received > 0 && feed.ingester) this.#options.noteEvents(feed.ingester.id, result.received);
    return result;
  }

  /** Counts a body, or a part of one, that is not JSON: an error of its source. */
  unreadable({ source }: Post, error: PayloadError, correlationId: string): void {
    this.#options.payloadError(source.name, error, correlationId);
  }
}

/** Requests that only their body proves, until it does: they keep no others out of the rooms. */
const UNPROVEN_ROOM: Room = { name: "unproven", size: SHARED_WAITING };

/** The waiting room of a feed: that of its source, else the one that all other sources share. */
function roomOf({ source, feed: { waiting } }: Post): Room {
  return waiting === undefined ? { name: "", size: SHARED_WAITING } : { name: source.name, size: waiting };
}

/** A segment with its percent-escapes decoded; unchanged if they are invalid. */
function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}
