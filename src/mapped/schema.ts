/** The fields of Ingester and ObservationMapping, for the CRDs and for validation. */
import * as z from "zod";
import { dropsShape } from "../filters/drops_schema.ts";
import { filterBlockSchema } from "../filters/schema.ts";
import { conditionSchema } from "../model/condition_schema.ts";
import { type CrdOptions, type PrinterColumn, readyPath } from "../model/crd.ts";
import { LIMITS, SEVERITIES, SOURCE_PATTERN } from "../model/observation.ts";
import { MAX_EXPRESSION_LENGTH } from "../filters/expression.ts";
import { MAPPED_VERSION } from "./kinds.ts";
import { MAX_PATH_VALUE_LENGTH } from "./path.ts";

const LABEL_PART = /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/;
const PATH = /^(\/[a-z0-9]([-a-z0-9_]*[a-z0-9])?)+$/;
const DURATION = /^([0-9]+(s|m|h))+$/;

const KEEPS_UNKNOWN = { "x-kubernetes-preserve-unknown-fields": true };

/**
 * Refuses unknown keys. The CRD makes the API server keep them: if it pruned them, a misspelt key of a filter or identity
 * would vanish, and the source would be ready without it.
 */
const closed = <T extends z.ZodRawShape>(shape: T) => z.strictObject(shape).meta(KEEPS_UNKNOWN);

const value = (what: string) =>
  z.string().max(MAX_PATH_VALUE_LENGTH, `expected at most ${MAX_PATH_VALUE_LENGTH} characters`)
    .describe(`${what}: a literal, or a path (.from.item, $.from.payload, ^.from.parent, @key)`);

const expression = (what: string, over = "item, root and key") =>
  z.string().min(1, "expected a CEL expression").max(MAX_EXPRESSION_LENGTH)
    .describe(`CEL over ${over}: ${what}`);

const sourceName = z.string().min(1, "expected a source's name").max(LIMITS.source)
  .regex(SOURCE_PATTERN, "expected lower-case letters, digits and -")
  .describe(
    "Name of the source. An Ingester without a mapping names a built-in source and adds a feed to it",
  );

const severityWord = z.string({ error: `expected one of ${SEVERITIES.join("|")}` })
  .transform((text) => SEVERITIES.find((severity) => severity === text.toUpperCase()) ?? text)
  .pipe(z.enum(SEVERITIES));

/** The form in which words of a severityMap are compared. */
export function severityKey(word: string): string {
  return word.trim().toLowerCase();
}

const severityMap = z.record(z.string().max(63), severityWord)
  .refine((map) => Object.keys(map).length <= 64, "expected at most 64 words")
  .describe(
    "The tool's word for a severity, in any case, to CRITICAL, HIGH, MEDIUM, LOW or UNKNOWN; * for any other word",
  )
  .optional();

const identity = z.array(value("Part of the identity")).min(1, "expected at least one value").max(16)
  .describe("What tells one finding from another, instead of event type, resource, message and key")
  .optional();

const mappingShape = {
  forEach: z.string().min(1, "expected a path with [*]").max(MAX_PATH_VALUE_LENGTH)
    .describe("Where items are: .items[*], over lists and maps, several levels; p | q takes both").optional(),
  when: expression("false means that the item is no finding").optional(),
  completeWhen: expression(
    "false means that the tool shows a part of its list, so that nothing is resolved by what it does not show",
    "root, the payload",
  ).optional(),
  resolvedWhen: expression("true means that a pushed finding is over").optional(),
  count: value("How often the object says that an occurrence happened: each rise is a repeat").optional(),
  resolvedAt: value("When a pushed finding that is over ended: RFC 3339, or a Unix time").optional(),
  severity: value("The tool's word for the severity").optional(),
  category: value("security (default), compliance, operations, performance or cost").optional(),
  eventType: value("Kind of finding; its default is the source's name").optional(),
  message: value("One line for humans").optional(),
  rule: value("The tool's own id of the rule, for filters").optional(),
  detectedAt: value("When the tool detected it: RFC 3339, or a Unix time").optional(),
  resource: closed({
    apiVersion: value("apiVersion").optional(),
    kind: value("kind").optional(),
    name: value("name").optional(),
    namespace: value("namespace").optional(),
  }).describe("The affected resource").optional(),
  details: z.record(
    z.string().max(63).regex(/^[A-Za-z0-9][A-Za-z0-9_.-]*$/, "expected letters, digits, _ . -"),
    value("A detail"),
  )
    .refine((details) => Object.keys(details).length <= 64, "expected at most 64 details")
    .describe("Entries of details by name, and where each value is").optional(),
  prose: z.array(z.string().max(63)).max(65)
    .describe(
      "Those of message and the details that hold only names and the tool's own fixed sentences, such as the title of a check: they are not masked",
    ).optional(),
};

const mappingSchema = closed({ ...mappingShape, severityMap, identity })
  .describe("How an item becomes an Observation");

const informerSchema = closed({
  group: z.string().max(253).regex(
    /^$|^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/,
    "expected an API group such as apps",
  )
    .describe("API group; absent for the core group").optional(),
  version: z.string().min(1).max(63).regex(LABEL_PART, "expected a version such as v1"),
  resource: z.string().min(1).max(63).regex(
    /^\*$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/,
    "expected a plural such as pods, or *",
  )
    .describe("Plural of the resource; * for every resource of the group"),
  namespace: z.string().max(63).describe("One namespace; absent for all").optional(),
  labelSelector: z.string().max(1024).optional(),
  fieldSelector: z.string().max(1024).optional(),
}).describe("Objects read by list and watch");

const webhookSchema = closed({
  path: z.string().max(128).regex(PATH, "expected a path such as /ingest/my-tool")
    .describe("Where the tool posts to"),
  auth: closed({
    type: z.enum(["none", "bearer", "hmac"]).describe("hmac: X-Hub-Signature-256 over the body"),
    secretName: z.string().min(1).max(253).regex(LABEL_PART, "expected the name of a Secret")
      .describe("Secret of the same namespace with the key token, labelled zen.kube-zen.io/webhook-auth")
      .optional(),
  }).describe("How senders show who they are; by default the token of the settings (WEBHOOK_AUTH_TOKEN)")
    .optional(),
}).describe("Events pushed over HTTP");

const configmapSchema = closed({
  namespace: z.string().min(1).max(63).describe("Its namespace; absent for the Ingester's own").optional(),
  labelSelector: z.string().min(1, "expected a label selector").max(1024),
  key: z.string().min(1).max(253).describe("Key whose value is JSON"),
}).describe("Results kept in labelled ConfigMaps");

/** `spec` of an Ingester. */
export const ingesterSpecSchema = closed({
  source: sourceName,
  type: z.enum(["informer", "webhook", "configmap"]).describe(
    "How payloads arrive; the block of that name says where",
  ),
  informer: informerSchema.optional(),
  webhook: webhookSchema.optional(),
  configmap: configmapSchema.optional(),
  kind: z.enum(["finding", "occurrence"]).describe("finding: a state (default); occurrence: an act")
    .optional(),
  mapping: mappingSchema.optional(),
  filters: filterBlockSchema.meta(KEEPS_UNKNOWN).describe("A filter for this source alone").optional(),
  window: z.string().max(32).regex(DURATION, "expected a duration such as 90s or 1h30m")
    .describe("How long repeats of an occurrence count as one").optional(),
  rateLimit: closed({
    requestsPerSecond: z.number().positive().max(100_000).describe("Observations a second"),
    burst: z.int().min(1).max(1_000_000),
  }).describe("How fast this source may write").optional(),
  ttlSeconds: z.int().min(1).max(LIMITS.ttlSeconds).describe("How long its Observations are kept").optional(),
  enabled: z.boolean().describe("false disables this source").optional(),
}).describe("One more source");

/** `spec` of an ObservationMapping. */
export const observationMappingSpecSchema = closed({
  sourceName,
  group: informerSchema.shape.group,
  version: informerSchema.shape.version,
  kind: z.string().min(1).max(63).regex(/^[A-Z][A-Za-z0-9]*$/, "expected a kind such as Certificate")
    .describe("Kind of the objects; its plural is looked up"),
  mappings: closed(mappingShape).describe("How an object becomes Observations"),
  severityMap,
  identity,
  enabled: z.boolean().describe("false disables this source").optional(),
}).describe("One more source, of objects of one kind");

/** `status` of both. */
const mappedStatusSchema = z.object({
  conditions: z.array(conditionSchema).optional().describe("Ready: whether it is in force, and why not"),
  lastEventAt: z.string().meta({ format: "date-time" }).optional().describe("Time of its last event"),
  eventsTotal: z.int().min(0).optional().describe("Number of its events"),
}).describe("Its state, written by zen-watcher alone");

/** `status` of an Ingester. */
const ingesterStatusSchema = mappedStatusSchema.extend({
  filters: z.object(dropsShape).optional().describe("Events that its filters drop"),
});

/** `spec` of an Ingester. */
export type IngesterSpec = z.output<typeof ingesterSpecSchema>;
/** `spec.mapping` of an Ingester: where in an item each field of an event is. */
export type MappingSpec = z.output<typeof mappingSchema>;

const STATE_COLUMNS: readonly PrinterColumn[] = [
  { name: "Ready", path: readyPath("status"), type: "string" },
  { name: "Reason", path: readyPath("reason"), type: "string" },
  { name: "Events", path: ".status.eventsTotal", type: "integer" },
  { name: "Last", path: ".status.lastEventAt", type: "date" },
  { name: "Age", path: ".metadata.creationTimestamp", type: "date" },
  { name: "Message", path: readyPath("message"), type: "string", wide: true },
];

/** The options of the CRDs. */
export const MAPPED_CRDS: Readonly<Record<string, CrdOptions>> = {
  ingester: mappedCrd("Ingester", {
    description: "Takes in what one more tool reports, by configuration alone",
    schema: { spec: ingesterSpecSchema, status: ingesterStatusSchema },
    columns: [
      { name: "Source", path: ".spec.source", type: "string" },
      { name: "Type", path: ".spec.type", type: "string" },
      ...STATE_COLUMNS,
      { name: "Dropped", path: ".status.filters.dropped", type: "integer", wide: true },
    ],
  }),
  observationmapping: mappedCrd("ObservationMapping", {
    description: "Takes in objects of one kind, by configuration alone",
    schema: { spec: observationMappingSpecSchema, status: mappedStatusSchema },
    columns: [
      { name: "Source", path: ".spec.sourceName", type: "string" },
      { name: "Kind", path: ".spec.kind", type: "string" },
      ...STATE_COLUMNS,
    ],
  }),
};

function mappedCrd(
  kind: string,
  options: Pick<CrdOptions, "description" | "schema" | "columns">,
): CrdOptions {
  return { kind, plural: `${kind.toLowerCase()}s`, version: MAPPED_VERSION, ...options };
}
