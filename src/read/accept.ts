/** Makes ObservationExceptions, and finds what they would accept before they are written. */
import { type ExceptionDocument, readException } from "../exceptions/document.ts";
import { ExceptionIndex } from "../exceptions/judge.ts";
import { type ExceptionReason, OBSERVATION_EXCEPTIONS } from "../exceptions/kind.ts";
import type { KubeObject } from "../kube/api.ts";
import { acceptableOf } from "../model/acceptance.ts";
import type { JsonObject } from "../model/json.ts";
import { LABELS, type Observation } from "../model/observation.ts";
import type { StoredObservation } from "../store/observations.ts";
import { formatPath, formatProblem } from "../text/problem.ts";
import { readObservations, type ReadOptions } from "./observations.ts";
import type { ReadApi } from "./pages.ts";
import { phaseAt } from "./row.ts";

/** What an exception matches: `spec.match`. */
export interface AcceptMatch {
  readonly sources?: readonly string[];
  readonly rules?: readonly string[];
  readonly workloads?: readonly string[];
  readonly resources?: readonly { readonly kind: string; readonly name: string }[];
  readonly severities?: readonly string[];
}

/** A decision to accept. */
export interface Decision {
  readonly namespace: string;
  /** By default made of what it matches. */
  readonly name?: string | undefined;
  readonly match: AcceptMatch;
  readonly reason: ExceptionReason;
  readonly justification: string;
  /** RFC 3339. */
  readonly expiresAt: string;
  readonly ticket?: string | undefined;
  readonly acceptedBy?: string | undefined;
  readonly onlyWhileNoFix?: boolean | undefined;
}

/** The match of one finding: its source, rule and resource; undefined where it has neither rule nor resource. */
export function matchOf({ spec }: Observation): AcceptMatch | undefined {
  const { source, rule, resource: { kind, name } = {} } = spec;
  if (rule === undefined && (kind === undefined || name === undefined)) return undefined;
  return {
    sources: [source],
    ...(rule !== undefined && { rules: [rule] }),
    ...(kind !== undefined && name !== undefined && { resources: [{ kind, name }] }),
  };
}

/** The object of a decision. */
export function exceptionObject(decision: Decision): KubeObject {
  const { namespace, name, match, reason, justification, expiresAt } = decision;
  const { ticket, acceptedBy, onlyWhileNoFix } = decision;
  const { group, version, kind } = OBSERVATION_EXCEPTIONS;
  return {
    apiVersion: `${group}/${version}`,
    kind,
    metadata: { name: name ?? nameOf(match), namespace },
    spec: {
      match: JSON.parse(JSON.stringify(match)) as JsonObject,
      reason,
      justification,
      expiresAt,
      ...(ticket !== undefined && { ticket }),
      ...(acceptedBy !== undefined && { acceptedBy }),
      ...(onlyWhileNoFix && { onlyWhileNoFix }),
    },
  };
}

/** Reads the object as the controller would; throws a sentence for each mistake. */
export function checkedException(
  object: KubeObject,
  { maxDays, now }: { readonly maxDays: number; readonly now: number },
): ExceptionDocument {
  const read = readException(object, { maxDays, now });
  if (read.ok) return read.value;
  const { namespace = "", name = "" } = object.metadata;
  throw new Error(
    read.problems.map(({ path, message }) =>
      formatProblem(`write exception "${namespace}/${name}"`, { path: formatPath(path), message })
    ).join("\n"),
  );
}

/** The findings that are Active now and that the exception would accept. */
export async function* wouldAccept(
  api: ReadApi,
  exception: ExceptionDocument,
  { now, ...reading }: ReadOptions & { readonly now: number },
): AsyncGenerator<StoredObservation> {
  const index = new ExceptionIndex();
  index.add(exception);
  const { namespace, rules, sources } = exception;
  const selection = {
    namespace,
    // A policy alone matches rules of other labels.
    ...(rules?.length === 1 && rules[0]?.includes("/") && { rule: rules[0] }),
    ...(sources?.length === 1 && { source: sources[0] }),
    phase: "Active" as const,
    nowMs: now,
  };
  for await (const page of readObservations(api, selection, reading)) {
    for (const observation of page) {
      const isFinding = observation.metadata.labels?.[LABELS.kind] === "finding";
      if (!isFinding || phaseAt(observation, now) !== "Active") continue;
      if (index.judge(acceptableOf(observation), namespace)) yield observation;
    }
  }
}

/** `cve-2024-3094-web`: what it matches, as a legal name. */
function nameOf({ rules, workloads, resources, sources }: AcceptMatch): string {
  const parts = [
    rules?.[0] ?? sources?.[0],
    workloads?.[0] ?? resources?.[0]?.name,
    rules && rules.length > 1 ? `and-${rules.length - 1}-more` : undefined,
  ];
  const text = parts.filter((part) => part !== undefined).join("-");
  return text.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+/, "").slice(0, 63).replace(/-+$/, "");
}
