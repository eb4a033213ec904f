/** The status of an Ingester or ObservationMapping. Pure. */
import { at, type JsonObject, number, textAt } from "../model/json.ts";
import { formatSeconds } from "../model/time.ts";
import { type KubeObject, resourceName } from "../kube/api.ts";
import type { ReadyCondition } from "../kube/conditions.ts";
import type { Feed, Source } from "../sources/source.ts";
import type { SourceState } from "../sources/status.ts";
import type { Verdict } from "./verdict.ts";

/** Events an Ingester brought since its counters were last written. */
export interface EventCount {
  readonly count: number;
  /** Milliseconds since the epoch. */
  readonly lastAt: number;
}

/** The condition of an object: the verdict on it, or, if it is active, why nothing arrives. */
export function conditionOf(
  { ready, reason, message }: Verdict,
  inForce?: { readonly source: Source; readonly state: SourceState },
): Omit<ReadyCondition, "observedGeneration"> {
  const [feed] = inForce?.source.feeds ?? [];
  const trouble = ready && feed && inForce ? troubleOf(feed, inForce.state) : undefined;
  return { status: ready && !trouble ? "True" : "False", reason, message, ...trouble };
}

function troubleOf(feed: Feed, state: SourceState): Pick<ReadyCondition, "reason" | "message"> | undefined {
  switch (state) {
    case "forbidden":
      return {
        reason: "Forbidden",
        message: `${whatIsRead(feed)} may not be read: add ${ruleFor(feed)}`,
      };
    case "absent":
      return { reason: "NotServed", message: `the API server does not serve ${whatIsRead(feed)}` };
    case "failing":
      return { reason: "Failing", message: `${whatIsRead(feed)} cannot be read; the log says why` };
    case "standby":
    case "listing":
    case "partial":
    case "synced":
    case "serving":
      return undefined;
  }
}

/** Adds what this replica saw to the stored counters. */
export function addedEvents(stored: KubeObject, { count, lastAt }: EventCount): JsonObject {
  const status = statusOf(stored);
  const lastEventAt = Date.parse(textAt(status, "lastEventAt"));
  return {
    eventsTotal: (number(at(status, "eventsTotal")) ?? 0) + count,
    lastEventAt: formatSeconds(Number.isNaN(lastEventAt) ? lastAt : Math.max(lastEventAt, lastAt)),
  };
}

/** Two counts as one. */
export function mergeCounts(older: EventCount, newer: EventCount): EventCount {
  return { count: older.count + newer.count, lastAt: Math.max(older.lastAt, newer.lastAt) };
}

/** The stored counters as a text, for comparing them. */
export function countersText(object: KubeObject): string {
  const status = statusOf(object);
  return `${number(at(status, "eventsTotal")) ?? 0} ${textAt(status, "lastEventAt")}`;
}

function statusOf({ status }: KubeObject): JsonObject {
  return typeof status === "object" && status !== null ? status as JsonObject : {};
}

function whatIsRead(feed: Feed): string {
  if (feed.type === "watch") return feed.resources.map(resourceName).join(", ");
  return feed.type === "configmap" ? `ConfigMaps in ${feed.namespace}` : feed.path;
}

/** The missing RBAC rule, in the notation of the chart's values and of a Role. */
function ruleFor(feed: Feed): string {
  const verbs = '"verbs": ["get", "list", "watch"]';
  if (feed.type === "configmap") {
    return `{"apiGroups": [""], "resources": ["configmaps"], ${verbs}} by a Role in ${feed.namespace}`;
  }
  const resources = feed.type === "watch" ? feed.resources : [];
  const groups = [...new Set(resources.map(({ group }) => group))];
  const plurals = [...new Set(resources.map(({ plural }) => plural))];
  return `{"apiGroups": ${JSON.stringify(groups)}, "resources": ${JSON.stringify(plurals)}, ${verbs}} ` +
    "to the chart's extraSourceRules";
}
