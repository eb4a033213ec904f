/** The words and limits of the Observation: group, labels, annotations, enumerations, lengths. */

/** The API group of all kinds of zen-watcher. */
export const GROUP = "zen.kube-zen.io";
/** The version of the Observation; the other kinds are `v1alpha1`. */
export const VERSION_NAME = "v1";
/** The kind of the Observation. */
export const KIND = "Observation";
/** The Observation's name in URLs and RBAC rules. */
export const PLURAL = "observations";
/** `apiVersion` of an Observation. */
export const API_VERSION = `${GROUP}/${VERSION_NAME}`;
/** Value of the `app.kubernetes.io/managed-by` label, and the field manager of every write. */
export const MANAGED_BY = "zen-watcher";

/** Values of `spec.category`. */
export const CATEGORIES = ["security", "compliance", "operations", "performance", "cost"] as const;
/** Values of `spec.severity`, the worst first; UNKNOWN if the tool says none. */
export const SEVERITIES = ["CRITICAL", "HIGH", "MEDIUM", "LOW", "UNKNOWN"] as const;
/** Accepted: an ObservationException covers the finding until a date. */
export const PHASES = ["Active", "Accepted", "Resolved"] as const;

/**
 * Why a finding is Resolved: its report is there without it; the report itself is gone, which does not say that it was
 * fixed; the tool said that it is over.
 */
export const RESOLVED_REASONS = ["NotReported", "ReportGone", "SaidResolved"] as const;

/** One of the categories. */
export type Category = typeof CATEGORIES[number];
/** One of the severities. */
export type Severity = typeof SEVERITIES[number];
/** One of the phases. */
export type Phase = typeof PHASES[number];
/** One of the reasons for being Resolved. */
export type ResolvedReason = typeof RESOLVED_REASONS[number];

/** Keys of the labels of Observations; all carry each of them, but for `rule` and `workload`, which need not apply. */
export const LABELS = {
  source: `${GROUP}/source`,
  severity: `${GROUP}/severity`,
  category: `${GROUP}/category`,
  eventType: `${GROUP}/event-type`,
  /** `finding` or `occurrence`. */
  kind: `${GROUP}/kind`,
  /** `spec.rule` as a label value. */
  rule: `${GROUP}/rule`,
  /** See `workloadOf`. */
  workload: `${GROUP}/workload`,
  /** The first 128 bits of the fingerprint, 32 hex digits. */
  fingerprint: `${GROUP}/fingerprint`,
  instance: `${GROUP}/instance`,
  managedBy: "app.kubernetes.io/managed-by",
} as const;

/** Keys of annotations; every Observation carries the first three. */
export const ANNOTATIONS = {
  /** All 64 hex digits. */
  fingerprint: `${GROUP}/fingerprint`,
  /** What the fingerprint is made of, for people: cleaned, masked, and no more than the Observation shows elsewhere. */
  identity: `${GROUP}/identity`,
  /** Whose create this was: tells an answer that got lost from another writer's object. */
  eventId: `${GROUP}/event-id`,
  /** The Ingester whose webhook a finding of a built-in source was pushed through: no view of that source tells of its end. */
  pushedThrough: `${GROUP}/pushed-through`,
  /** The namespace whose quota or policy refused the Observation, or that was gone: it is stored in the controller's own. */
  refusedByNamespace: `${GROUP}/refused-by-namespace`,
} as const;

/** Limits of an Observation's fields, in UTF-16 units (never fewer than Kubernetes' code points) and bytes. */
export const LIMITS = {
  source: 63,
  eventType: 63,
  rule: 253,
  message: 1024,
  detailsBytes: 8192,
  annotationBytes: 1024,
  apiVersion: 253,
  kind: 63,
  name: 253,
  namespace: 63,
  ttlSeconds: 31_536_000,
} as const;

/** What `spec.source` matches: lower-case letters, digits and `-` between them, also several in a row. */
export const SOURCE_PATTERN = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/;
/** What `spec.eventType` matches: words of lower-case letters and digits, joined by single `-` or `_`. */
export const EVENT_TYPE_PATTERN = /^[a-z0-9]+([-_][a-z0-9]+)*$/;
