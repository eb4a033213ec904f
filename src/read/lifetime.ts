/** When an Observation is deleted, by the rule of the garbage collector. */
import { LABELS, type Observation } from "../model/observation.ts";
import { believedTime, formatTime, seenTimes } from "../model/time.ts";
import { livesFrom } from "../store/expiry.ts";

/** The settings of the controller that decide it. */
export interface LifetimeSettings {
  readonly observationTtlSeconds: number;
  readonly resolvedTtlSeconds: number;
}

/** How long an Observation stays. */
export interface Lifetime {
  /** The field or setting that says how long. */
  readonly setting: "ttlSecondsAfterCreation" | "OBSERVATION_TTL_SECONDS" | "RESOLVED_TTL_SECONDS";
  readonly seconds: number;
  /** RFC 3339; "" while a report names the finding: it stays until it is Resolved, and then as long again as the setting says. */
  readonly deletedAfter: string;
}

/** The lifetime of an Observation. `isPushed`: no report is watched that could say that the finding is there or gone. */
export function lifetimeOf(
  observation: Observation,
  { isPushed, settings, now }: {
    readonly isPushed: boolean;
    readonly settings: LifetimeSettings;
    readonly now: number;
  },
): Lifetime {
  const { metadata, spec: { ttlSecondsAfterCreation: ttl }, status } = observation;
  const { createdAt, lastSeenAt } = seenTimes(observation, now);
  const isFinding = metadata.labels?.[LABELS.kind] !== "occurrence";
  const active = status?.phase !== "Resolved";
  const resolvedAt = believedTime(status?.resolvedAt, now) ?? lastSeenAt;
  const begin = isFinding
    ? livesFrom({ active, createdAt, lastSeenAt, resolvedAt }, isPushed ? "unwatched" : "reported")
    : createdAt;
  const isReported = begin === Infinity;
  const { setting, seconds }: Pick<Lifetime, "setting" | "seconds"> = isFinding && (!active || isReported)
    ? { setting: "RESOLVED_TTL_SECONDS", seconds: settings.resolvedTtlSeconds }
    : ttl === undefined
    ? { setting: "OBSERVATION_TTL_SECONDS", seconds: settings.observationTtlSeconds }
    : { setting: "ttlSecondsAfterCreation", seconds: ttl };
  const deletedAt = Math.max(createdAt, begin) + seconds * 1_000;
  return { setting, seconds, deletedAfter: isReported ? "" : formatTime(deletedAt) };
}
