/** Scripts of lists and watches, and what a watcher makes of them. */
import { fixedConnection, type KubeObject, type ResourceType } from "../../src/kube/api.ts";
import { createKubeClient, type KubeClientOptions } from "../../src/kube/client.ts";
import { watch, type WatchEvent, type WatchOptions, type WatchState } from "../../src/kube/watch.ts";
import { type ApiServer, type ScriptedWatch, type Seen, watchStream } from "./api_server.ts";

/** What is watched. */
export const REPORTS: ResourceType = {
  group: "example.test",
  version: "v1",
  plural: "reports",
  kind: "Report",
  namespaced: true,
};

/** An object of a list or a watch. */
export const object = (name: string, resourceVersion: string): KubeObject => ({
  metadata: { name, resourceVersion },
});

/** The answer to a list. */
export function listed(resourceVersion: string, items: KubeObject[], next?: string): Response {
  return Response.json({ metadata: { resourceVersion, ...(next ? { continue: next } : {}) }, items });
}

/** Answers lists and watches from two scripts; a watch beyond its script stays open and silent. */
export function script(lists: (() => Response)[], watches: ((stream: ScriptedWatch) => Response | void)[]) {
  const asked: string[] = [];
  const answer = ({ query }: Seen): Response => {
    if (!query.has("watch")) {
      asked.push(`list${query.has("continue") ? ` ${query.get("continue")}` : ""}`);
      return lists.shift()?.() ?? listed("99", []);
    }
    asked.push(`watch ${query.get("resourceVersion")}`);
    const stream = watchStream();
    stream.raw("\n");
    return watches.shift()?.(stream) ?? stream.response;
  };
  return { asked, answer };
}

/** What a watcher told. */
export interface Observed {
  readonly told: string[];
  readonly states: WatchState[];
  readonly waits: number[];
}

/** Watches until `until` holds, and returns the frames in short words. */
export async function observe(
  server: ApiServer,
  until: (event: WatchEvent, told: string[]) => boolean,
  options: Partial<WatchOptions> & { transport?: KubeClientOptions } = {},
): Promise<Observed> {
  const { transport, ...rest } = options;
  using api = createKubeClient(fixedConnection({ server: server.url }), transport);
  const stop = new AbortController();
  const observed: Observed = { told: [], states: [], waits: [] };
  const events = watch(api, REPORTS, {
    signal: stop.signal,
    random: () => 1,
    sleep: (ms) => (observed.waits.push(ms), Promise.resolve()),
    onState: (state) => observed.states.push(state),
    ...rest,
  });
  for await (const event of events) {
    observed.told.push(told(event));
    if (until(event, observed.told)) stop.abort();
  }
  return observed;
}

/** An event in short words. */
export function told(event: WatchEvent): string {
  if (event.type === "apply" || event.type === "delete") return `${event.type} ${event.object.metadata.name}`;
  if (event.type === "synced") return `synced ${event.resourceVersion}`;
  return event.type === "error" ? `${event.state}: ${event.reason}` : event.type;
}

/** Stops at the `apply` of an object. */
export const isApply = (name: string) => (event: WatchEvent) =>
  event.type === "apply" && event.object.metadata.name === name;
