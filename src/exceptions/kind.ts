/** The kind ObservationException: its resource, its schema and what its CRD is made of. */
import * as z from "zod";
import type { ResourceType } from "../kube/api.ts";
import { conditionSchema } from "../model/condition_schema.ts";
import { type CrdOptions, readyPath } from "../model/crd.ts";
import { GROUP, LIMITS, SEVERITIES } from "../model/observation.ts";
import { parseTime } from "../model/time.ts";

/** The resource as it is served. */
export const OBSERVATION_EXCEPTIONS: ResourceType = {
  group: GROUP,
  version: "v1alpha1",
  plural: "observationexceptions",
  kind: "ObservationException",
  namespaced: true,
};

/** Why a finding is accepted. */
export const EXCEPTION_REASONS = [
  "not_affected",
  "accepted_risk",
  "false_positive",
  "mitigated",
  "fix_planned",
] as const;
export type ExceptionReason = typeof EXCEPTION_REASONS[number];

/** Most values of one list. */
const MAX_VALUES = 1_000;

const KEEPS_UNKNOWN = { "x-kubernetes-preserve-unknown-fields": true };

function list<T extends z.ZodType>(element: T, what: string) {
  return z.array(element)
    .min(1, "expected at least one value (an absent key matches all)")
    .max(MAX_VALUES, `expected at most ${MAX_VALUES} values`)
    .describe(what)
    .optional();
}

const word = (max: number) =>
  z.string().min(1, "expected a value").max(max, `expected at most ${max} characters`);

/** What `match` takes. Values are exact. */
export const matchShape = {
  sources: list(word(LIMITS.source), "Sources, such as trivy"),
  rules: list(
    word(LIMITS.rule),
    "Rules by the source's own id: a CVE, a check, policy/rule or its policy alone",
  ),
  workloads: list(word(LIMITS.name), "Workloads by name, as the label zen.kube-zen.io/workload holds them"),
  resources: list(
    z.strictObject({ kind: word(LIMITS.kind), name: word(LIMITS.name) }).meta(KEEPS_UNKNOWN),
    "Affected resources by kind and name",
  ),
  severities: list(z.enum(SEVERITIES), "Severities"),
};

const matchSchema = z.strictObject(matchShape).meta({
  ...KEEPS_UNKNOWN,
  "x-kubernetes-validations": [{
    rule: "has(self.rules) || has(self.resources)",
    message: "expected rules, resources, or both",
  }],
}).describe("The findings that it covers: all that match every key; it needs rules or resources");

/** The fields of `spec`. */
export const specShape = {
  match: matchSchema,
  reason: z.enum(EXCEPTION_REASONS).describe("Why the findings are accepted"),
  justification: z.string().min(1, "expected a sentence that says why").max(4_096)
    .describe("Why, in words for an auditor"),
  expiresAt: z.string().max(64)
    .refine((text) => parseTime(text) !== undefined, "expected an RFC 3339 time such as 2027-01-31T00:00:00Z")
    .meta({ format: "date-time" })
    .describe("When it ends; at most EXCEPTION_MAX_DAYS (365) after its creation"),
  ticket: z.string().max(1_024).describe("Where the decision is recorded").optional(),
  acceptedBy: z.string().max(253).describe(
    "Who accepts the findings; the API server's audit log shows who wrote this",
  )
    .optional(),
  onlyWhileNoFix: z.boolean().describe("Covers a finding only while no version that fixes it is known")
    .optional(),
};

/**
 * `spec`. The CRD keeps keys that it does not know: a misspelt one that vanished would leave an exception that accepts more
 * than its author meant. They are refused when it is read.
 */
export const exceptionSpecSchema = z.strictObject(specShape).meta(KEEPS_UNKNOWN)
  .describe("Which findings are accepted, why and until when");

const statusSchema = z.object({
  conditions: z.array(conditionSchema).optional().describe("Ready: whether it accepts findings, and why not"),
  matched: z.int().min(0).optional().describe("Findings that it covers now"),
  matchedParts: z.object({
    namespaced: z.int().min(0).optional().describe("Findings that belong to its namespace"),
    clusterScoped: z.int().min(0).optional().describe("Findings that belong to no namespace"),
  }).optional().describe("The count of each shard, where two shards hold findings that it covers"),
}).describe("Its state, written by zen-watcher alone");

/** The CRD of ObservationException. */
export const OBSERVATION_EXCEPTION_CRD: CrdOptions = {
  kind: OBSERVATION_EXCEPTIONS.kind,
  plural: OBSERVATION_EXCEPTIONS.plural,
  version: OBSERVATION_EXCEPTIONS.version,
  description: "Accepts findings of its own namespace for a time, with a reason",
  schema: { spec: exceptionSpecSchema, status: statusSchema },
  shortNames: ["obsex"],
  columns: [
    { name: "Reason", path: ".spec.reason", type: "string", description: "Why the findings are accepted" },
    // A date in the future would be shown as <invalid>.
    { name: "Expires", path: ".spec.expiresAt", type: "string" },
    { name: "Ready", path: readyPath("status"), type: "string" },
    { name: "Matched", path: ".status.matched", type: "integer", description: "Findings that it covers now" },
    { name: "Age", path: ".metadata.creationTimestamp", type: "date" },
    { name: "State", path: readyPath("reason"), type: "string", wide: true },
    { name: "Message", path: readyPath("message"), type: "string", wide: true },
    { name: "Justification", path: ".spec.justification", type: "string", wide: true },
  ],
};
