/** The status of an Ingester or ObservationMapping: what is written, and when it is worth writing. Pure. */
import type { JsonObject } from "../model/json.ts";
import type { KubeObject } from "../kube/api.ts";
import { resourceName } from "../kube/paths.ts";
import { at, list, number, textAt } from "../sources/read.ts";
import type { Feed, Source } from "../sources/source.ts";
import type { SourceState } from "../sources/status.ts";
import type { Verdict } from "./verdict.ts";

/** Events an Ingester brought since its counters were last written. */
export interface Delta {
  readonly count: number;
  /** Milliseconds since the epoch. */
  readonly lastAt: number;
}

/** What the driver says of a source in force: a verdict of "in force" becomes the reason why nothing arrives. */
export function withDriverState(verdict: Verdict, { feeds: [feed] }: Source, state: SourceState): Verdict {
  if (!verdict.ready || !feed) return verdict;
  switch (state) {
    case "forbidden":
      return {
        ready: false,
        reason: "Forbidden",
        message: `${whatIsRead(feed)} may not be read: add ${ruleFor(feed)}`,
      };
    case "absent":
      return {
        ready: false,
        reason: "NotServed",
        message: `the API server does not serve ${whatIsRead(feed)}`,
      };
    case "failing":
      return {
        ready: false,
        reason: "Failing",
        message: `${whatIsRead(feed)} cannot be read; the log says why`,
      };
    case "standby":
    case "listing":
    case "synced":
    case "serving":
      return verdict;
  }
}

/** The status to merge where the condition says anything else than the verdict; undefined where all is said. */
export function conditionPatch(object: KubeObject, verdict: Verdict, now: number): JsonObject | undefined {
  const generation = object.metadata.generation ?? 0;
  const status = verdict.ready ? "True" : "False";
  const current = readyCondition(object);
  const same = textAt(current, "status") === status && textAt(current, "reason") === verdict.reason &&
    textAt(current, "message") === verdict.message &&
    number(at(current, "observedGeneration")) === generation;
  if (same) return undefined;
  const turned = textAt(current, "status") !== status;
  const others = list(at(statusOf(object), "conditions")).filter((condition) =>
    textAt(condition, "type") !== "Ready"
  );
  const ready = {
    type: "Ready",
    status,
    reason: verdict.reason,
    message: verdict.message,
    observedGeneration: generation,
    lastTransitionTime: turned ? timeText(now) : textAt(current, "lastTransitionTime") || timeText(now),
  };
  return { status: { conditions: [...others, ready] } };
}

/** The counters to merge, on the very version they were read from: each replica adds what it saw. */
export function countersPatch(object: KubeObject, { count, lastAt }: Delta): JsonObject {
  const status = statusOf(object);
  const stored = Date.parse(textAt(status, "lastEventAt"));
  const last = Number.isNaN(stored) ? lastAt : Math.max(stored, lastAt);
  return {
    metadata: { resourceVersion: object.metadata.resourceVersion ?? "" },
    status: { eventsTotal: (number(at(status, "eventsTotal")) ?? 0) + count, lastEventAt: timeText(last) },
  };
}

/** The counters of an object, to tell whether someone wrote them. */
export function countersOf(object: KubeObject): string {
  const status = statusOf(object);
  return `${textAt(status, "eventsTotal")} ${textAt(status, "lastEventAt")}`;
}

function readyCondition(object: KubeObject) {
  return list(at(statusOf(object), "conditions")).find((condition) => textAt(condition, "type") === "Ready");
}

function statusOf(object: KubeObject): JsonObject {
  const status = object["status"];
  return typeof status === "object" && status !== null ? status as JsonObject : {};
}

function whatIsRead(feed: Feed): string {
  if (feed.type === "watch") return feed.resources.map(resourceName).join(", ");
  return feed.type === "configmap" ? `ConfigMaps in ${feed.namespace}` : feed.path;
}

/** The rule that is missing, as it is written into the chart's values or a Role. */
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

function timeText(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}
