/**
 * The embedded development API server as a process of its own. The program's way into a cluster from a Pod is TLS
 * alone, so a relay ends TLS in front of it; bare clients go through the same relay.
 */
import { startDevCluster } from "../../src/devcluster/mod.ts";
import { createCertAuthority } from "../../tests/support/certs.ts";
import { answerQuestions } from "./worker.ts";

export type EmbeddedQuestion = { readonly ask: "where" } | { readonly ask: "requests" };

export interface EmbeddedPlace {
  readonly url: string;
  readonly caPem: string;
}

if (import.meta.main) {
  const counts = new Map<string, number>();
  const cluster = startDevCluster({
    gate({ verb, path }, { carryOut }) {
      const kind = `${verb} ${kindOf(path)}`;
      counts.set(kind, (counts.get(kind) ?? 0) + 1);
      return carryOut();
    },
  });
  const authority = createCertAuthority("bench-ca");
  const { certPem: cert, keyPem: key } = authority.issue({
    usage: "server",
    commonName: "kube-apiserver",
    dnsNames: ["localhost"],
    ipAddresses: ["127.0.0.1"],
  });
  const listener = Deno.listenTls({
    hostname: "127.0.0.1",
    port: 0,
    cert,
    key,
    alpnProtocols: ["h2", "http/1.1"],
  });
  relay(listener, Number(new URL(cluster.url).port));
  const place: EmbeddedPlace = {
    url: `https://127.0.0.1:${(listener.addr as Deno.NetAddr).port}`,
    caPem: authority.certPem,
  };
  await answerQuestions((question: EmbeddedQuestion) => {
    if (question.ask === "where") return Promise.resolve(place);
    return Promise.resolve(Object.fromEntries(counts));
  });
}

async function relay(listener: Deno.TlsListener, port: number): Promise<void> {
  for await (const client of listener) {
    Deno.connect({ hostname: "127.0.0.1", port }).then(async (server) => {
      server.setNoDelay(true);
      await Promise.allSettled([
        client.readable.pipeTo(server.writable),
        server.readable.pipeTo(client.writable),
      ]);
    }, () => client.close());
  }
}

/** `/apis/<group>/<version>/namespaces/<ns>/<plural>/<name>/status?…` → `<group>/<plural>/status`. */
function kindOf(path: string): string {
  const [, root = "", ...rest] = (path.split("?", 1)[0] ?? "").split("/");
  const group = root === "apis" ? rest.shift() ?? "" : "core";
  const [, ...place] = rest;
  if (root !== "api" && root !== "apis") return path.split("?", 1)[0] ?? "";
  const inside = place[0] === "namespaces" && place.length > 2 ? place.slice(2) : place;
  const [plural = "(discovery)", , subresource] = inside;
  return [group, plural, subresource].filter((part) => part !== undefined).join("/");
}
