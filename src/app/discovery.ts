/** The API server's resources as the state sources ask for them. */
import type { KubeApi } from "../kube/api.ts";
import { type DiscoveryWatch, watchDiscovery } from "../kube/discovery.ts";
import type { Discovery, StateSource } from "../sources/feeds/state_sources.ts";

export interface PolledDiscovery extends Discovery, Pick<DiscoveryWatch, "run" | "refresh" | "types"> {}

/** Polls the groups that `groups` names at each look. */
export function createDiscovery(
  { api, groups, intervalMs }: { api: KubeApi; groups: () => Iterable<string>; intervalMs: number },
): PolledDiscovery {
  const listeners = new Set<() => void>();
  let served: ReadonlySet<string> | undefined;
  let unknown: ReadonlySet<string> = new Set();
  const watch = watchDiscovery(api, {
    groups,
    intervalMs,
    onChange(change) {
      served = new Set(change.types.map(nameOf));
      unknown = change.unknown;
      for (const listener of [...listeners]) listener();
    },
  });
  return {
    ...watch,
    get polled() {
      return served !== undefined;
    },
    serves(type) {
      if (served?.has(nameOf(type))) return true;
      const { group, version } = type;
      return unknown.has(group) || unknown.has(`${group}/${version}`) ? undefined : false;
    },
    subscribe(listener) {
      listeners.add(listener);
      if (served) listener();
      return { [Symbol.dispose]: () => void listeners.delete(listener) };
    },
  };
}

function nameOf({ group, version, plural }: { group: string; version: string; plural: string }): string {
  return `${group}/${version}/${plural}`;
}

/** The groups of what state sources read. The core group is served everywhere. */
export function groupsOf(sources: readonly StateSource[]): ReadonlySet<string> {
  const groups = sources.flatMap(({ input }) =>
    input.type === "informer" ? input.resources.map(({ group }) => group) : []
  );
  return new Set(groups.filter((group) => group !== ""));
}
