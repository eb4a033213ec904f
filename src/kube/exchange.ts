/** One HTTP exchange with the API server: credentials, the lane, the deadline, what its answer means. */
import { type Clock, systemClock } from "../model/clock.ts";
import { isObject, type Json, type JsonObject } from "../model/json.ts";
import { ApiError, NetworkError, type StatusBody } from "./api.ts";
import type { Connection, Endpoint } from "./auth/connection.ts";
import { type Deadline, deadline } from "./deadline.ts";
import type { Answer, Lane, Lanes } from "./lanes.ts";

/** What to send. */
export interface Request {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly path: string;
  readonly query?: URLSearchParams;
  readonly body?: Json;
  readonly contentType?: string;
  /** JSON, where it does not say. */
  readonly accept?: string;
  readonly signal?: AbortSignal | undefined;
  /** For errors: `create observations "zen-system/a"`. */
  readonly doing: string;
}

/** What an exchange stands on. */
export interface Wire {
  readonly connection: Connection;
  readonly lanes: Lanes;
  readonly userAgent: string;
  readonly requestDeadlineMs: number;
  readonly maxBodyBytes: number;
  readonly clock: Clock;
}

/** An answer under way. The body must be read or cancelled before `limit` is disposed of. */
export interface Exchange extends Disposable {
  readonly answer: Answer;
  readonly limit: Deadline;
  /** Turns whatever interrupted the reading of the body into what callers expect. */
  failure(error: unknown): unknown;
}

/** Sends and reads: the status and the text of a successful answer. Throws `ApiError`, `NetworkError`, the caller's abort. */
export async function request(wire: Wire, request: Request): Promise<{ status: number; text: string }> {
  using exchange = await open(wire, request, { watch: false });
  try {
    return { status: exchange.answer.status, text: await exchange.answer.text(wire.maxBodyBytes) };
  } catch (error) {
    throw exchange.failure(error);
  }
}

/** Sends; returns a successful answer, its body unread. On 401 the credentials are read anew and it is sent once more. */
export async function open(
  wire: Wire,
  request: Request,
  options: { readonly watch: boolean },
): Promise<Exchange> {
  const first = await send(wire, request, { ...options, fresh: false });
  if (isSuccess(first.answer)) return first;
  using refused = first;
  const error = await toApiError(wire, request, refused);
  if (error.status !== 401) throw error;
  const second = await send(wire, request, { ...options, fresh: true });
  if (isSuccess(second.answer)) return second;
  using again = second;
  throw await toApiError(wire, request, again);
}

function isSuccess({ status }: Answer): boolean {
  return status >= 200 && status < 300;
}

/** JSON of an answer that must be an object. */
export function parseObject(text: string, doing: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new NetworkError(`Cannot ${doing}: the answer is not JSON`, { cause, fault: "garbled" });
  }
  if (isObject(value)) return value;
  throw new NetworkError(`Cannot ${doing}: the answer is not a JSON object`, { fault: "garbled" });
}

async function send(
  wire: Wire,
  request: Request,
  { watch, fresh }: { readonly watch: boolean; readonly fresh: boolean },
): Promise<Exchange> {
  request.signal?.throwIfAborted();
  const endpoint = await currentEndpoint(wire, request, fresh);
  const lane = wire.lanes.take(endpoint, watch ? "watch" : request.body === undefined ? "read" : "write");
  const limit = deadline(wire.requestDeadlineMs, request.doing, request.signal);
  const dispose = () => {
    limit[Symbol.dispose]();
    if (watch) wire.lanes.release(lane);
  };
  const failure = (error: unknown) => toFailure(error, { wire, request, limit, lane });
  try {
    const answer = await lane.send({
      method: request.method,
      url: urlOf(endpoint, request),
      headers: headersOf(endpoint, request, wire.userAgent),
      body: request.body === undefined ? undefined : JSON.stringify(request.body),
      signal: limit.signal,
      maxBodyBytes: wire.maxBodyBytes,
    });
    return { answer, limit, failure, [Symbol.dispose]: dispose };
  } catch (error) {
    dispose();
    throw failure(error);
  }
}

async function currentEndpoint(wire: Wire, { doing, signal }: Request, fresh: boolean): Promise<Endpoint> {
  try {
    return await wire.connection.endpoint({ fresh });
  } catch (cause) {
    signal?.throwIfAborted();
    throw new NetworkError(`Cannot ${doing}: ${messageOf(cause)}`, { cause });
  }
}

function toFailure(
  error: unknown,
  { wire, request, limit, lane }: { wire: Wire; request: Request; limit: Deadline; lane: Lane },
): unknown {
  const reason = limit.signal.aborted ? limit.signal.reason : error;
  // A connection that let a request run out of time may be half open: nothing else should wait on it.
  if (reason instanceof NetworkError && reason.fault === "timeout") wire.lanes.retire(lane);
  if (limit.signal.aborted || reason instanceof NetworkError) return reason;
  return new NetworkError(`Cannot ${request.doing}: ${messageOf(error)}`, { cause: error });
}

async function toApiError(wire: Wire, request: Request, exchange: Exchange): Promise<ApiError> {
  const { answer } = exchange;
  let text = "";
  try {
    text = await answer.text(MAX_ERROR_BYTES);
  } catch (error) {
    const failure = exchange.failure(error);
    // The status line alone says enough, unless it was the caller who left.
    if (!(failure instanceof NetworkError)) throw failure;
  }
  const body = toStatus(text);
  return new ApiError(request.doing, answer.status, body, retryAfterMs(answer, body, wire.clock));
}

function toStatus(text: string): StatusBody {
  try {
    const value: unknown = JSON.parse(text);
    if (isObject(value)) return value;
  } catch {
    // A proxy's page, or "404 page not found".
  }
  const message = text.trim().slice(0, 300);
  return message === "" ? {} : { message };
}

/** The wait of the `Retry-After` header, in seconds or a date, or else of the Status. */
function retryAfterMs(answer: Answer, body: StatusBody, clock: Clock): number | undefined {
  const header = answer.header("retry-after")?.trim();
  if (header) {
    const seconds = Number(header);
    if (Number.isFinite(seconds)) return Math.max(0, seconds * 1_000);
    const date = Date.parse(header);
    if (!Number.isNaN(date)) return Math.max(0, date - clock.now());
  }
  const seconds = body.details?.retryAfterSeconds;
  return typeof seconds === "number" && seconds > 0 ? seconds * 1_000 : undefined;
}

function urlOf(endpoint: Endpoint, { path, query }: Request): string {
  const search = query === undefined ? "" : `?${query}`;
  return `${endpoint.server.replace(/\/+$/, "")}${path}${search}`;
}

function headersOf(endpoint: Endpoint, request: Request, userAgent: string): Record<string, string> {
  return {
    ...endpoint.headers,
    accept: request.accept ?? "application/json",
    "user-agent": userAgent,
    ...(endpoint.authorization === undefined ? {} : { authorization: endpoint.authorization }),
    ...(request.body === undefined ? {} : { "content-type": request.contentType ?? "application/json" }),
  };
}

/** The innermost message: fetch's own is "fetch failed", its cause says why. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? messageOf(error.cause) : error.message;
}

const MAX_ERROR_BYTES = 64 * 1024;

/** The wire with the defaults of production. */
export function createWire(
  connection: Connection,
  lanes: Lanes,
  options: Partial<Omit<Wire, "connection" | "lanes">> = {},
): Wire {
  return {
    userAgent: "zen-watcher",
    requestDeadlineMs: 30_000,
    maxBodyBytes: 64 * 1024 * 1024,
    clock: systemClock,
    ...options,
    connection,
    lanes,
  };
}
