/** A scripted API server's lease, for tests of leader election. */
import type { KubeObject } from "../../src/kube/api.ts";
import { type LeaseRecord, readRecord } from "../../src/kube/lease.ts";
import { type ScriptedWatch, type Seen, status, watchStream } from "./api_server.ts";

/** Where its leases are. */
export const LEASE_PATH = "/apis/coordination.k8s.io/v1/namespaces/zen-system/leases";

/** The script of a server that keeps one lease, with optimistic concurrency and watches as an API server has them. */
export function leaseServer(initial?: Partial<LeaseRecord>) {
  let version = 1;
  let lease: KubeObject | undefined;
  let refusal: (() => Response | Promise<Response>) | undefined;
  const watches = new Set<ScriptedWatch>();
  const changes: LeaseRecord[] = [];
  const store = (next: KubeObject): Response => {
    lease = { ...next, metadata: { ...next.metadata, name: "election", resourceVersion: String(++version) } };
    changes.push(readRecord(lease));
    for (const watch of watches) watch.send("MODIFIED", lease);
    return Response.json(lease);
  };
  const answer = ({ method, path, query, body }: Seen): Response | Promise<Response> => {
    if (query.has("watch")) {
      const stream = watchStream();
      stream.raw("\n");
      watches.add(stream);
      stream.left.then(() => watches.delete(stream));
      return stream.response;
    }
    if (path === LEASE_PATH && method === "GET") {
      return Response.json({ metadata: { resourceVersion: String(version) }, items: lease ? [lease] : [] });
    }
    if (refusal) return refusal();
    if (method === "GET") return lease ? Response.json(lease) : status(404, { reason: "NotFound" });
    const sent = body as KubeObject;
    if (method === "POST") return lease ? status(409, { reason: "AlreadyExists" }) : store(sent);
    if (!lease) return status(404, { reason: "NotFound" });
    return sent.metadata.resourceVersion === lease.metadata.resourceVersion
      ? store(sent)
      : status(409, { reason: "Conflict" });
  };
  if (initial) store({ metadata: {}, spec: { leaseDurationSeconds: 15, ...initial } });
  return {
    answer,
    changes,
    record: () => lease && readRecord(lease),
    /** As another client would. */
    set: (spec: Partial<LeaseRecord>) =>
      void store({ metadata: {}, spec: { ...(lease?.["spec"] as object), ...spec } }),
    remove: () => lease = undefined,
    refuse: (how: typeof refusal) => refusal = how,
  };
}
