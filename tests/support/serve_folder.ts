/** The files of a folder over HTTP, at loopback. */
import { join, normalize } from "node:path";

export interface ServedFolder extends AsyncDisposable {
  readonly url: string;
  /** The files that were asked for, in order. */
  readonly asked: readonly string[];
}

/** Serves the files of `folder` until it is disposed of. */
export function serveFolder(folder: string): ServedFolder {
  const asked: string[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    const file = normalize(decodeURIComponent(new URL(request.url).pathname)).slice(1);
    asked.push(file);
    try {
      return new Response(await Deno.readFile(join(folder, file)));
    } catch {
      return new Response(null, { status: 404 });
    }
  });
  return {
    url: `http://127.0.0.1:${server.addr.port}`,
    asked,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}
