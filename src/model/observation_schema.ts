/**
 * The schema of the Observation: the single source of its TypeScript type, its CRD and its validation. The running
 * program needs its types alone; the API server validates.
 */
import * as z from "zod";
import { isObject, type JsonObject } from "./json.ts";
import {
  CATEGORIES,
  EVENT_TYPE_PATTERN,
  LIMITS,
  PHASES,
  RESOLVED_REASONS,
  SEVERITIES,
  SOURCE_PATTERN,
} from "./terms.ts";
import { parseTime } from "./time.ts";

/** One writer writes it as a whole: `managedFields`, which are stored too, name it and not each field in it. */
const ATOMIC = { "x-kubernetes-map-type": "atomic" };

const time = () =>
  z.string().max(64).refine((text) => parseTime(text) !== undefined, "expected an RFC 3339 time")
    .meta({ format: "date-time" });

/** The affected resource. */
export const resourceSchema = z.object({
  apiVersion: z.string().max(LIMITS.apiVersion).optional(),
  kind: z.string().max(LIMITS.kind).optional(),
  name: z.string().max(LIMITS.name).optional(),
  namespace: z.string().max(LIMITS.namespace).optional(),
}).describe("The affected resource");

/** The finding or event. */
export const specSchema = z.object({
  source: z.string().max(LIMITS.source).regex(SOURCE_PATTERN).describe("The tool that reported it"),
  category: z.enum(CATEGORIES).describe("The field of work it belongs to"),
  severity: z.enum(SEVERITIES).describe("The severity of the finding"),
  eventType: z.string().max(LIMITS.eventType).regex(EVENT_TYPE_PATTERN).describe("The kind of finding"),
  rule: z.string().max(LIMITS.rule).optional().describe(
    "The source's own id of what was found: a CVE, a check, a policy",
  ),
  message: z.string().max(LIMITS.message).optional().describe("One line for humans"),
  resource: resourceSchema.optional(),
  details: z.custom<JsonObject>(isObject, "expected an object").optional()
    .meta({ type: "object", "x-kubernetes-preserve-unknown-fields": true })
    .describe(
      "What the tool reports about it, at most 8 KiB of JSON; `truncated: true` where it reported more",
    ),
  detectedAt: time().optional().describe("When the tool detected it"),
  ttlSecondsAfterCreation: z.int().min(1).max(LIMITS.ttlSeconds).optional()
    .describe("Deleted this long after its creation unless its source still reports it"),
}).describe("The finding or event").meta(ATOMIC);

/** The ObservationException that covers a finding. */
const exceptionSchema = z.object({
  namespace: z.string().max(LIMITS.namespace),
  name: z.string().max(LIMITS.name),
  expiresAt: time().describe("When it ceases to cover the finding"),
  since: time().describe("When this exception began to cover the finding"),
}).describe("The ObservationException that covers it, while it is Accepted");

/** Phase, count and times. A fresh object's status comes from these defaults, without a write. */
export const statusSchema = z.object({
  phase: z.enum(PHASES).default("Active").describe(
    "Accepted while an ObservationException matches; Resolved once its source no longer reports it",
  ),
  occurrences: z.int().min(1).default(1).describe("How often it was reported"),
  processed: z.boolean().default(true).describe("Stored and indexed by zen-watcher"),
  lastProcessedAt: time().optional().describe("When this status was last written"),
  firstSeenAt: time().optional().describe("Time of the first event"),
  lastSeenAt: time().optional().describe("Time of the latest event"),
  resolvedAt: time().optional().describe(
    "When zen-watcher learnt that it ended, or the end time that the tool gives",
  ),
  resolvedReason: z.enum(RESOLVED_REASONS).optional().describe(
    "NotReported: its report is there without it; ReportGone: the report is gone, which does not say fixed; SaidResolved: the tool said so",
  ),
  reopenedAt: time().optional().describe("When it was last reported again after it was Resolved"),
  exception: exceptionSchema.optional(),
}).describe("Its phase, count and times, written by zen-watcher alone").meta(ATOMIC);

/** The whole object, less what Kubernetes itself checks. */
export const observationSchema = z.object({ spec: specSchema, status: statusSchema.optional() });
