/**
 * Between node:http and fetch handlers. Own code: the listener of @hono/node-server keeps timers and writes to the
 * console when a client hangs up, and costs the same (bench).
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { Readable } from "node:stream";

/** Answers a request of node:http by a fetch handler, whole. Rejects as the handler does. */
export async function answer(
  handler: (request: Request) => Response | Promise<Response>,
  { incoming, outgoing }: { readonly incoming: IncomingMessage; readonly outgoing: ServerResponse },
): Promise<void> {
  const request = requestOf(incoming);
  const response = request ? await handler(request) : new Response(null, { status: 400 });
  const body = new Uint8Array(await response.arrayBuffer());
  if (outgoing.destroyed) return;
  outgoing.writeHead(response.status, {
    ...Object.fromEntries(response.headers),
    "content-length": body.byteLength,
  });
  outgoing.end(body);
}

/** The request; undefined where its target is no path or a header cannot be read. */
function requestOf(incoming: IncomingMessage): Request | undefined {
  const { method = "GET", url = "", rawHeaders } = incoming;
  if (!url.startsWith("/") || url.startsWith("//")) return undefined;
  const hasBody = method !== "GET" && method !== "HEAD";
  try {
    const headers = new Headers();
    for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
      headers.append(rawHeaders[index] ?? "", rawHeaders[index + 1] ?? "");
    }
    // Nothing reads the host: routes are paths.
    return new Request(`http://localhost${url}`, {
      method,
      headers,
      ...(hasBody && { body: Readable.toWeb(incoming) as ReadableStream<Uint8Array>, duplex: "half" }),
    } as RequestInit);
  } catch {
    return undefined;
  }
}
