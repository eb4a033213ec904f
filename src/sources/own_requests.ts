/** The requests that zen-watcher itself sends: those that its rights allow, and reads of what Ingesters name. Pure. */
import type { ApiRequest } from "../model/event.ts";
import { accessesOf, rbacRules, type RuleSettings } from "./rbac.ts";
import { namespaceOf, secretRefsOf, type Source } from "./source.ts";

/** What every user may ask, and a starting API server refuses: who it is, and which resources are served. */
const WHO_AM_I = { verb: "create", group: "authentication.k8s.io", resource: "selfsubjectreviews" };
const DISCOVERY = /^\/(?:apis|apis\/[^/]+\/[^/]+|api\/v1)$/;
/** Verbs by which feeds read. */
const READS = ["get", "list", "watch"];
/** Joins the parts of a request; none of them can contain it. */
const SEPARATOR = " ";

/**
 * Recognises the program's own requests by verb, resource, subresource, namespace and, for its Lease, filters and the
 * Secrets of webhooks, name. It never sends `deletecollection`, and asks for no workload, no list of Secrets and no Secret
 * that no Ingester names, so other uses of a stolen token are reported.
 */
export function ownRequests(
  settings: RuleSettings,
  sources: readonly Source[],
): (request: ApiRequest) => boolean {
  const table = new Set<string>([keyOf(WHO_AM_I)]);
  for (const { by: _by, ...access } of accessesOf(rbacRules(settings))) table.add(keyOf(access));
  for (const secret of sources.flatMap(secretRefsOf)) {
    table.add(keyOf({ verb: "get", resource: "secrets", ...secret }));
  }
  for (const feed of sources.flatMap(({ feeds }) => feeds)) {
    for (const verb of READS) {
      if (feed.type === "watch") {
        for (const { group, plural } of feed.resources) table.add(keyOf({ verb, group, resource: plural }));
      } else if (feed.type === "configmap") {
        const namespace = namespaceOf(feed, settings);
        table.add(keyOf({ verb, group: "", resource: "configmaps", namespace }));
      }
    }
  }
  return ({ namespace, name, path, ...what }) => {
    if (what.resource === "") return what.verb === "get" && DISCOVERY.test(path);
    return [{}, { namespace }, { namespace, name }].some((where) => table.has(keyOf({ ...what, ...where })));
  };
}

function keyOf(request: Partial<ApiRequest>): string {
  const { verb = "", group = "", resource = "", subresource = "", namespace = "", name = "" } = request;
  return [verb, group, resource, subresource, namespace, name].join(SEPARATOR);
}
