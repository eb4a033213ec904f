import type { Context } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";

/** A request that is refused, with what the sender needs to know to mend it. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  readonly status: ContentfulStatusCode;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: ContentfulStatusCode, message: string, headers: Readonly<Record<string, string>> = {}) {
    super(message);
    this.status = status;
    this.headers = headers;
  }
}

/** Answers a refusal as JSON: `{error, requestId, …}`. */
export function problem(
  c: Context,
  refusal: Refusal,
  more: Readonly<Record<string, unknown>> = {},
): Response {
  const body = { error: refusal.message, requestId: requestIdOf(c), ...more };
  return c.json(body, refusal.status, refusal.headers);
}

/** The id of a request: the sender's `X-Request-Id` where it is a plain word, else a new one. */
export function requestIdOf(c: Context): string {
  const known: unknown = c.get("requestId");
  if (typeof known === "string") return known;
  const given = c.req.header("x-request-id") ?? "";
  const id = /^[A-Za-z0-9._-]{1,64}$/.test(given) ? given : crypto.randomUUID();
  c.set("requestId", id);
  return id;
}
