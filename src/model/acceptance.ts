/** What ObservationExceptions judge findings by, and what they decide. */
import { labelValue, workloadOf } from "./identity.ts";
import { isObject } from "./json.ts";
import { LABELS, type Observation, type ObservationStatus, type Severity } from "./observation.ts";
import { formatTime, parseTime } from "./time.ts";

/** What an exception matches a finding by. Texts that are absent are "". */
export interface AcceptableFinding {
  readonly source: string;
  readonly severity: Severity;
  /** The namespace of the affected resource. */
  readonly belongsTo: string;
  readonly rule: string;
  readonly workload: string;
  /** `Kind/name` of the affected resource. */
  readonly resource: string;
  /** Whether the tool names a version that fixes it. */
  readonly isFixKnown: boolean;
}

/** The exception that covers a finding. */
export interface Acceptance {
  readonly namespace: string;
  readonly name: string;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
}

/** In place of the exception of a finding that is stored as Accepted without a readable one. */
const UNKNOWN_ACCEPTANCE = "unknown";

/** An acceptance as one text, by which the index holds and compares it: `shop/held 2027-01-31T00:00:00.000Z`. */
export function acceptanceText({ namespace, name, expiresAt }: Acceptance): string {
  return `${namespace}/${name} ${formatTime(expiresAt)}`;
}

/** Reads such a text; undefined where it is none. */
export function parseAcceptance(text: string): Acceptance | undefined {
  const [, namespace, name, time = ""] = /^([^/ ]+)\/([^/ ]+) (\S+)$/.exec(text) ?? [];
  const expiresAt = parseTime(time)?.ms;
  if (namespace === undefined || name === undefined || expiresAt === undefined) return undefined;
  return { namespace, name, expiresAt };
}

/** The acceptance that a status holds, as a text; "" where it is not Accepted. */
export function storedAcceptance({ phase, exception }: ObservationStatus): string {
  if (phase !== "Accepted") return "";
  const expiresAt = parseTime(exception?.expiresAt ?? "")?.ms;
  if (!exception || expiresAt === undefined) return UNKNOWN_ACCEPTANCE;
  return acceptanceText({ ...exception, expiresAt });
}

/** The policy of a rule that is named `policy/rule`; the rule itself elsewhere. */
export function policyOf(rule: string): string {
  const slash = rule.indexOf("/");
  return slash <= 0 ? rule : rule.slice(0, slash);
}

/** What exceptions read of an Observation. */
export function acceptableOf(observation: Observation): AcceptableFinding {
  const { spec } = observation;
  return {
    source: spec.source,
    severity: spec.severity,
    belongsTo: spec.resource?.namespace ?? "",
    rule: spec.rule ?? "",
    workload: workloadNameOf(observation) ?? "",
    resource: resourceKey(spec.resource),
    isFixKnown: isFixKnown(spec.details),
  };
}

/** `Kind/name`; "" where one of them is absent. */
export function resourceKey(
  resource: { readonly kind?: string | undefined; readonly name?: string | undefined } | undefined,
): string {
  const { kind = "", name = "" } = resource ?? {};
  return kind === "" || name === "" ? "" : `${kind}/${name}`;
}

/** True where details name a version that fixes the finding. */
export function isFixKnown(details: unknown): boolean {
  const fixed = isObject(details) ? details["fixedVersion"] : undefined;
  return typeof fixed === "string" && fixed !== "";
}

/** The workload that an Observation is grouped under: its label, or the whole name where the label is a shortened form of it. */
export function workloadNameOf({ metadata, spec }: Observation): string | undefined {
  const label = metadata.labels?.[LABELS.workload];
  const byName = workloadOf(spec.resource);
  return label === undefined || (byName !== undefined && labelValue(byName) === label) ? byName : label;
}
