/** Validates and compiles an Ingester or ObservationMapping. Reports every mistake with its path. */
import { readFilterBlock } from "../filters/document.ts";
import { toIssues } from "../text/schema_issues.ts";
import { filterBlockShape } from "../filters/schema.ts";
import type { Issue, Path } from "../text/problem.ts";
import type { SourceKind } from "../model/event.ts";
import { isObject } from "../model/json.ts";
import type { Severity } from "../model/observation.ts";
import type { FilterBlock } from "../filters/filter.ts";
import type { KubeObject } from "../kube/api.ts";
import { compileMapping } from "./compile_mapping.ts";
import type { CompiledMapping } from "./draw.ts";
import {
  type IngesterSpec,
  ingesterSpecSchema,
  type MappingSpec,
  observationMappingSpecSchema,
  severityKey,
} from "./schema.ts";

/** Where payloads come from, before discovery. */
export type MappedInput =
  | {
    readonly type: "informer";
    readonly group: string;
    readonly version: string;
    /** A plural, or `*` for every resource of the group. */
    readonly resource?: string;
    /** Instead of the plural. */
    readonly kind?: string;
    readonly namespace: string;
    readonly labelSelector: string;
    readonly fieldSelector: string;
  }
  | { readonly type: "webhook"; readonly path: string; readonly auth: MappedAuth }
  | {
    readonly type: "configmap";
    readonly namespace: string;
    readonly labelSelector: string;
    readonly key: string;
  };

/** `default`: the token of the settings, as for built-in webhooks. */
export type MappedAuth = { readonly type: "default" | "none" } | {
  readonly type: "bearer" | "hmac";
  readonly secretName: string;
};

/** An Ingester or ObservationMapping that was read. */
export interface CompiledIngester {
  readonly source: string;
  readonly input: MappedInput;
  /** Undefined for a door: it adds a feed to the built-in source of that name. */
  readonly mapping: CompiledMapping | undefined;
  /** Undefined for a door: the built-in source decides. */
  readonly kind: SourceKind | undefined;
  readonly severityMap: Readonly<Record<string, Severity>>;
  readonly identityFields: readonly string[];
  readonly filters: FilterBlock | undefined;
  readonly windowSeconds: number | undefined;
  readonly ttlSeconds: number | undefined;
  readonly rateLimit: { readonly requestsPerSecond: number; readonly burst: number } | undefined;
  readonly enabled: boolean;
}

/** A compiled Ingester, or every mistake in it. */
export type CompileResult =
  | { readonly ok: true; readonly value: CompiledIngester }
  | { readonly ok: false; readonly problems: readonly Issue[] };

const INGESTER_KEYS = [
  ...Object.keys(ingesterSpecSchema.shape),
  ...["group", "version", "resource", "namespace", "labelSelector", "fieldSelector", "path", "auth", "key"],
  ...[
    "forEach",
    "when",
    "completeWhen",
    "resolvedWhen",
    "resolvedAt",
    "count",
    "severity",
    "category",
    "eventType",
    "message",
    "rule",
    "detectedAt",
  ],
  ...["details", "prose", "severityMap", "identity", "requestsPerSecond", "burst", "secretName"],
  ...["apiVersion", "name"],
  ...Object.keys(filterBlockShape),
];
const MAPPING_KEYS = [...Object.keys(observationMappingSpecSchema.shape), ...INGESTER_KEYS];

/** Reads an object of kind Ingester or ObservationMapping. */
export function compileMapped(object: KubeObject): CompileResult {
  return object.kind === "ObservationMapping" ? compileObservationMapping(object) : compileIngester(object);
}

function compileIngester({ spec, metadata }: KubeObject): CompileResult {
  const parsed = ingesterSpecSchema.safeParse(spec);
  if (!parsed.success) return failed(underSpec(toIssues(parsed.error, spec, INGESTER_KEYS)));
  const issues = [...blockIssues(parsed.data), ...combinationIssues(parsed.data)];
  const mapping = parsed.data.mapping &&
    compileMapping(parsed.data.mapping, { source: parsed.data.source, path: ["mapping"] });
  if (mapping && !mapping.ok) issues.push(...mapping.problems);
  const filters = parsed.data.filters &&
    readFilterBlock(isObject(spec) ? spec.filters : undefined, ["filters"]);
  if (filters && !filters.ok) issues.push(...filters.problems);
  if (issues.length > 0) return failed(underSpec(issues));
  return {
    ok: true,
    value: assemble(parsed.data, {
      namespace: metadata.namespace ?? "",
      mapping: mapping?.ok ? mapping.value : undefined,
      filters: filters?.ok ? filters.value : undefined,
    }),
  };
}

function compileObservationMapping({ spec }: KubeObject): CompileResult {
  const parsed = observationMappingSpecSchema.safeParse(spec);
  if (!parsed.success) return failed(underSpec(toIssues(parsed.error, spec, MAPPING_KEYS)));
  const { sourceName, group = "", version, kind, mappings, severityMap, identity, enabled = true } =
    parsed.data;
  const whole: MappingSpec = { ...mappings, severityMap, identity };
  const mapping = compileMapping(whole, { source: sourceName, path: ["mappings"] });
  if (!mapping.ok) return failed(underSpec(mapping.problems.map(lifted)));
  const issues = mapping.value.resolvedWhen ? [resolvedWhenIssue(["mappings", "resolvedWhen"])] : [];
  if (issues.length > 0) return failed(underSpec(issues));
  const anywhere = { namespace: "", labelSelector: "", fieldSelector: "" };
  return {
    ok: true,
    value: {
      source: sourceName,
      input: { type: "informer", group, version, kind, ...anywhere },
      mapping: mapping.value,
      kind: "finding",
      ...severityAndIdentity(whole),
      filters: undefined,
      windowSeconds: undefined,
      ttlSeconds: undefined,
      rateLimit: undefined,
      enabled,
    },
  };
}

/** An ObservationMapping has `identity` and `severityMap` beside `mappings`, not inside. */
function lifted(issue: Issue): Issue {
  const [, key] = issue.path;
  return key === "identity" || key === "severityMap" ? { ...issue, path: issue.path.slice(1) } : issue;
}

interface Parts {
  readonly namespace: string;
  readonly mapping: CompiledMapping | undefined;
  readonly filters: FilterBlock | undefined;
}

function assemble(spec: IngesterSpec, { namespace, mapping, filters }: Parts): CompiledIngester {
  return {
    source: spec.source,
    input: inputOf(spec, namespace),
    mapping,
    kind: mapping ? spec.kind ?? "finding" : spec.kind,
    ...severityAndIdentity(spec.mapping ?? {}),
    filters,
    windowSeconds: spec.window === undefined ? undefined : seconds(spec.window),
    ttlSeconds: spec.ttlSeconds,
    rateLimit: spec.rateLimit,
    enabled: spec.enabled ?? true,
  };
}

function severityAndIdentity(mapping: MappingSpec): Pick<CompiledIngester, "severityMap" | "identityFields"> {
  const entries = Object.entries(mapping.severityMap ?? {});
  return {
    severityMap: Object.fromEntries(entries.map(([word, severity]) => [severityKey(word), severity])),
    identityFields: mapping.identity ?? ["eventType", "resource", "message", "key"],
  };
}

function inputOf(spec: IngesterSpec, namespace: string): MappedInput {
  if (spec.type === "webhook" && spec.webhook) {
    const { path, auth } = spec.webhook;
    if (!auth) return { type: "webhook", path, auth: { type: "default" } };
    const { type, secretName = "" } = auth;
    return { type: "webhook", path, auth: type === "none" ? { type } : { type, secretName } };
  }
  if (spec.type === "configmap" && spec.configmap) {
    return { type: "configmap", ...spec.configmap, namespace: spec.configmap.namespace ?? namespace };
  }
  const { informer } = spec;
  return {
    type: "informer",
    group: informer?.group ?? "",
    version: informer?.version ?? "",
    resource: informer?.resource ?? "",
    namespace: informer?.namespace ?? "",
    labelSelector: informer?.labelSelector ?? "",
    fieldSelector: informer?.fieldSelector ?? "",
  };
}

/** The block named like the type is required. Any other block is a mistake, because nothing would read its fields. */
function blockIssues(spec: IngesterSpec): Issue[] {
  const issues: Issue[] = [];
  for (const type of ["informer", "webhook", "configmap"] as const) {
    if (type === spec.type && spec[type] === undefined) {
      issues.push({ path: [type], message: `expected an object, since type is ${type}, received nothing` });
    }
    if (type !== spec.type && spec[type] !== undefined) {
      issues.push({ path: [type], message: `expected nothing, since type is ${spec.type}`, at: "key" });
    }
  }
  const auth = spec.webhook?.auth;
  if (auth && auth.type !== "none" && auth.secretName === undefined) {
    issues.push({
      path: ["webhook", "auth", "secretName"],
      message: `expected the Secret for ${auth.type}, received nothing`,
    });
  }
  if (auth?.type === "none" && auth.secretName !== undefined) {
    issues.push({
      path: ["webhook", "auth", "secretName"],
      message: "expected nothing, since auth.type is none",
    });
  }
  return issues;
}

function combinationIssues(spec: IngesterSpec): Issue[] {
  const issues: Issue[] = [];
  const isFinding = spec.mapping !== undefined && (spec.kind ?? "finding") === "finding";
  if (spec.mapping?.resolvedWhen !== undefined && (spec.type !== "webhook" || !isFinding)) {
    issues.push(resolvedWhenIssue(["mapping", "resolvedWhen"]));
  }
  if (spec.mapping?.count !== undefined && (spec.type !== "informer" || isFinding)) {
    const message = "expected nothing: only an occurrence that an object keeps (type: informer) has a count";
    issues.push({ path: ["mapping", "count"], message });
  }
  if (spec.mapping?.resolvedAt !== undefined && spec.mapping.resolvedWhen === undefined) {
    issues.push({ path: ["mapping", "resolvedAt"], message: "expected nothing without resolvedWhen" });
  }
  if (spec.mapping?.completeWhen !== undefined && (spec.type === "webhook" || !isFinding)) {
    issues.push({
      path: ["mapping", "completeWhen"],
      message:
        "expected nothing: only a finding of an informer or configmap ends by no longer being reported",
    });
  }
  if (spec.window !== undefined && isFinding) {
    issues.push({
      path: ["window"],
      message: "expected nothing: a finding has no window, only kind: occurrence has",
    });
  }
  if (spec.window !== undefined && seconds(spec.window) === 0) {
    issues.push({
      path: ["window"],
      message: `expected at least 1s, received ${JSON.stringify(spec.window)}`,
    });
  }
  return issues;
}

function resolvedWhenIssue(path: Path): Issue {
  const message =
    "expected nothing: only a finding that is pushed (type: webhook) is resolved by what is said, " +
    "others by no longer being reported";
  return { path, message };
}

/** `1h30m` in seconds. */
function seconds(duration: string): number {
  let total = 0;
  let digits = "";
  for (const char of duration) {
    if (char >= "0" && char <= "9") digits += char;
    else {
      total += Number(digits) * (char === "h" ? 3_600 : char === "m" ? 60 : 1);
      digits = "";
    }
  }
  return total;
}

function underSpec(issues: readonly Issue[]): Issue[] {
  return issues.map((issue) => ({ ...issue, path: ["spec", ...issue.path] }));
}

function failed(problems: readonly Issue[]): CompileResult {
  return { ok: false, problems };
}
