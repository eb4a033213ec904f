/** Writes the `Ready` condition of configuration resources, in the background, as far as it differs. */
import { isObject, type JsonObject } from "../core/json.ts";
import type { Clock } from "../core/clock.ts";
import { hasStatus, type KubeApi, type KubeObject, type ResourceType } from "../kube/api.ts";
import { retry } from "../kube/retry.ts";
import { logger } from "../telemetry/logging.ts";

/** What `Ready` says. */
export interface ReadyCondition {
  readonly status: "True" | "False";
  readonly reason: string;
  readonly message: string;
  readonly observedGeneration: number;
}

export interface ReadyStatusOptions {
  readonly api: KubeApi;
  readonly type: ResourceType;
  readonly clock: Clock;
  /** Replicas would write the same: one is enough. */
  readonly isLeader: () => boolean;
}

/** Takes conditions to write. */
export interface ReadyStatusWriter {
  /** Replaces what is not written yet for this object. Nothing happens on a follower or where nothing differs. */
  write(object: KubeObject, condition: ReadyCondition): void;
  /** Writes, one after the other, until `signal` aborts. */
  run(signal: AbortSignal): Promise<void>;
}

const log = logger("status");

/** Creates the writer of one resource type. */
export function createReadyStatusWriter(options: ReadyStatusOptions): ReadyStatusWriter {
  const pending = new Map<string, { object: KubeObject; condition: ReadyCondition }>();
  let wake = () => {};

  return {
    write(object, condition) {
      const key = `${object.metadata.namespace ?? ""}/${object.metadata.name ?? ""}`;
      if (!options.isLeader() || !differs(object, condition)) {
        pending.delete(key);
        return;
      }
      pending.set(key, { object, condition });
      wake();
    },
    async run(signal) {
      signal.addEventListener("abort", () => wake(), { once: true });
      while (!signal.aborted) {
        const [next] = pending;
        if (!next) {
          await new Promise<void>((resolve) => wake = resolve);
          continue;
        }
        pending.delete(next[0]);
        if (options.isLeader()) await writeOne(options, next[1], signal);
      }
    },
  };
}

async function writeOne(
  { api, type, clock }: ReadyStatusOptions,
  { object, condition }: { object: KubeObject; condition: ReadyCondition },
  signal: AbortSignal,
): Promise<void> {
  const { namespace, name = "" } = object.metadata;
  const before = readyOf(object);
  const lastTransitionTime =
    before?.status === condition.status && typeof before.lastTransitionTime === "string"
      ? before.lastTransitionTime
      : new Date(clock.now()).toISOString().replace(/\.\d+Z$/, "Z");
  const conditions = [{ type: "Ready", ...condition, lastTransitionTime }];
  try {
    await retry(
      () =>
        api.patch(type, name, { status: { conditions } }, {
          type: "merge",
          subresource: "status",
          signal,
          ...(namespace !== undefined && { namespace }),
        }),
      { signal },
    );
  } catch (error) {
    if (signal.aborted || hasStatus(error, 404)) return;
    log.warn("Status of a configuration resource could not be written", {
      kind: type.kind,
      namespace,
      name,
      error,
    });
  }
}

function differs(object: KubeObject, condition: ReadyCondition): boolean {
  const before = readyOf(object);
  return !before || Object.entries(condition).some(([key, value]) => before[key] !== value);
}

function readyOf(object: KubeObject): JsonObject | undefined {
  if (!isObject(object.status) || !Array.isArray(object.status.conditions)) return undefined;
  return object.status.conditions.filter(isObject).find((condition) => condition.type === "Ready");
}
