/** The Observation: this schema is the single source of its TypeScript type, its CRD and its validation. */
import * as z from "zod";
import { isObject, type JsonObject } from "./json.ts";
import { parseTime } from "./time.ts";

export const GROUP = "zen.kube-zen.io";
export const VERSION = "v1";
export const KIND = "Observation";
export const PLURAL = "observations";
export const API_VERSION = `${GROUP}/${VERSION}`;
/** Value of the `app.kubernetes.io/managed-by` label, and the field manager of every write. */
export const MANAGED_BY = "zen-watcher";

export const CATEGORIES = ["security", "compliance", "operations", "performance", "cost"] as const;
export const SEVERITIES = ["CRITICAL", "HIGH", "MEDIUM", "LOW", "UNKNOWN"] as const;
export const PHASES = ["Active", "Resolved"] as const;

export type Category = typeof CATEGORIES[number];
export type Severity = typeof SEVERITIES[number];
export type Phase = typeof PHASES[number];

/** Keys of the labels every Observation carries. */
export const LABELS = {
  source: `${GROUP}/source`,
  severity: `${GROUP}/severity`,
  category: `${GROUP}/category`,
  eventType: `${GROUP}/event-type`,
  /** `finding` or `occurrence`. */
  kind: `${GROUP}/kind`,
  /** The first 128 bits of the fingerprint, 32 hex digits. */
  fingerprint: `${GROUP}/fingerprint`,
  instance: `${GROUP}/instance`,
  managedBy: "app.kubernetes.io/managed-by",
} as const;

/** Keys of annotations; every Observation carries the first three. */
export const ANNOTATIONS = {
  /** All 64 hex digits. */
  fingerprint: `${GROUP}/fingerprint`,
  /** The text the fingerprint is the SHA-256 of, where it is short enough. */
  identity: `${GROUP}/identity`,
  /** Whose create this was: tells an answer that got lost from another writer's object. */
  eventId: `${GROUP}/event-id`,
  /** The Ingester whose webhook a finding of a built-in source was pushed through: no view of that source tells of its end. */
  pushedThrough: `${GROUP}/pushed-through`,
} as const;

/** The limits of section 1, in UTF-16 units (never fewer than Kubernetes' code points) and bytes. */
export const LIMITS = {
  source: 63,
  eventType: 63,
  message: 1024,
  detailsBytes: 8192,
  annotationBytes: 1024,
  apiVersion: 253,
  kind: 63,
  name: 253,
  namespace: 63,
  ttlSeconds: 31_536_000,
} as const;

export const SOURCE_PATTERN = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/;
export const EVENT_TYPE_PATTERN = /^[a-z0-9]+([-_][a-z0-9]+)*$/;

const time = () =>
  z.string().max(64).refine((text) => parseTime(text) !== undefined, "expected an RFC 3339 time")
    .meta({ format: "date-time" });

/** What is affected. */
export const resourceSchema = z.object({
  apiVersion: z.string().max(LIMITS.apiVersion).optional(),
  kind: z.string().max(LIMITS.kind).optional(),
  name: z.string().max(LIMITS.name).optional(),
  namespace: z.string().max(LIMITS.namespace).optional(),
}).describe("What is affected");
export type Resource = z.infer<typeof resourceSchema>;

/** What was found. */
export const specSchema = z.object({
  source: z.string().max(LIMITS.source).regex(SOURCE_PATTERN).describe("The tool that reported it"),
  category: z.enum(CATEGORIES).describe("The field of work it belongs to"),
  severity: z.enum(SEVERITIES).describe("How bad it is"),
  eventType: z.string().max(LIMITS.eventType).regex(EVENT_TYPE_PATTERN).describe("The kind of finding"),
  message: z.string().max(LIMITS.message).optional().describe("One line for humans"),
  resource: resourceSchema.optional(),
  details: z.custom<JsonObject>(isObject, "expected an object").optional()
    .meta({ type: "object", "x-kubernetes-preserve-unknown-fields": true })
    .describe("What the tool says of it, at most 8 KiB of JSON; `truncated: true` where more was said"),
  detectedAt: time().optional().describe("When the tool detected it"),
  ttlSecondsAfterCreation: z.int().min(1).max(LIMITS.ttlSeconds).optional()
    .describe("Deleted this long after its creation unless its source still reports it"),
}).describe("What was found");
export type ObservationSpec = z.infer<typeof specSchema>;

/** What became of it. A fresh object's status comes from these defaults, without a write. */
export const statusSchema = z.object({
  phase: z.enum(PHASES).default("Active").describe("Resolved once its source no longer reports it"),
  occurrences: z.int().min(1).default(1).describe("How often it was reported"),
  processed: z.boolean().default(true).describe("Stored and indexed by zen-watcher"),
  lastProcessedAt: time().optional().describe("When this status was last written"),
  firstSeenAt: time().optional().describe("Time of the first event"),
  lastSeenAt: time().optional().describe("Time of the latest event"),
  resolvedAt: time().optional().describe("When it became Resolved"),
}).describe("What became of it, written by zen-watcher alone");
/** As stored: every field may be absent in an object of an older version. */
export type ObservationStatus = z.input<typeof statusSchema>;

/** The whole object, less what Kubernetes itself checks. */
export const observationSchema = z.object({ spec: specSchema, status: statusSchema.optional() });

/** `metadata` of an Observation. */
export type ObservationMeta = {
  readonly name?: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly generation?: number;
  readonly creationTimestamp?: string;
  readonly deletionTimestamp?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly [field: string]: unknown;
};

/** An Observation as it is written and read. */
export type Observation = {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata: ObservationMeta;
  readonly spec: ObservationSpec;
  readonly status?: ObservationStatus;
};
