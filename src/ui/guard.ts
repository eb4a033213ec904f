/** Refuses what does not come from the page itself, and sends the headers that keep the page to itself. */
import type { MiddlewareHandler } from "hono";
import type { Bindings } from "../http/app.ts";
import { Refusal } from "../http/request.ts";

const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
].join("; ");

const HEADERS: Readonly<Record<string, string>> = {
  "content-security-policy": POLICY,
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "cross-origin-embedder-policy": "require-corp",
  "permissions-policy": "camera=(), geolocation=(), microphone=()",
  "cache-control": "no-store",
};

type Guard = MiddlewareHandler<{ Bindings: Bindings }>;

/** On every answer: no foreign code, no frame around it, no copy in a cache. */
export function ownHeaders(): Guard {
  return async (c, next) => {
    await next();
    for (const [name, value] of Object.entries(HEADERS)) c.res.headers.set(name, value);
  };
}

/**
 * Host must be this listener: a name that someone points at 127.0.0.1 (DNS rebinding) is not. Origin and Sec-Fetch-Site,
 * which browsers send, must be the page's own. A link or the file that opens the page may lead to it: it holds no data.
 */
export function ownRequestsOnly(port: () => number): Guard {
  return async (c, next) => {
    const host = c.req.header("host") ?? "";
    if (!hostsOf(port()).includes(host)) {
      throw new Refusal(
        421,
        `Cannot answer this request: its Host is not this address. Open http://127.0.0.1:${port()}/`,
      );
    }
    const origin = c.req.header("origin");
    if (origin !== undefined && origin !== `http://${host}`) {
      throw new Refusal(
        403,
        "Cannot answer this request: it comes from another origin. Open the page by its own address",
      );
    }
    const site = c.req.header("sec-fetch-site") ?? "none";
    const isOpening = c.req.method === "GET" && c.req.path === "/" &&
      c.req.header("sec-fetch-mode") === "navigate" &&
      c.req.header("sec-fetch-dest") === "document";
    if (site !== "none" && site !== "same-origin" && !isOpening) {
      throw new Refusal(
        403,
        "Cannot answer this request: it comes from another site. Open the page by its own address",
      );
    }
    await next();
  };
}

function hostsOf(port: number): string[] {
  return ["127.0.0.1", "localhost", "[::1]"].flatMap((
    name,
  ) => [`${name}:${port}`, ...(port === 80 ? [name] : [])]);
}
