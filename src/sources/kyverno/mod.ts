/** Policy reports of Kyverno, and of other tools that write the same kinds. */
import type { DrawContext, Drawn, DrawnEvent, Origin } from "../../model/event.ts";
import { isObject, type Json, type JsonObject } from "../../model/json.ts";
import type { Resource } from "../../model/observation.ts";
import {
  at,
  type Field,
  firstText,
  number,
  shapeOf,
  text,
  textAt,
  texts,
  unread,
  withoutEmpty,
} from "../read.ts";
import { alikeTwins, joined, reportsIn } from "../reports.ts";
import type { Source, WatchedResource } from "../source.ts";
import { lastingSubject, ownerOf, subjectOf } from "../resources.ts";
import { sourceName } from "../../model/identity/names.ts";

const POLICY_VERSIONS = ["v1alpha2", "v1beta2", "v1beta1", "v1alpha1"];
const KINDS: ReadonlySet<string> = new Set([
  "PolicyReport",
  "ClusterPolicyReport",
  "Report",
  "ClusterReport",
]);
const IDENTITY = ["policy", "rule", "result", "resource", "report"];

/** Failed and unevaluable rules of policy reports, one for each resource. */
export const kyverno: Source = {
  name: "kyverno",
  kind: "finding",
  summary: "Policy violations from PolicyReports and OpenReports, by Kyverno or any tool that writes them",
  eventTypes: {
    "policy-violation": { category: "security", identity: IDENTITY },
    "policy-error": { category: "security", identity: IDENTITY },
  },
  feeds: [{
    type: "watch",
    resources: [
      ...POLICY_VERSIONS.map((version) => reports("wgpolicyk8s.io", version, "PolicyReport")),
      ...POLICY_VERSIONS.map((version) => reports("wgpolicyk8s.io", version, "ClusterPolicyReport")),
      reports("openreports.io", "v1alpha1", "Report"),
      reports("openreports.io", "v1alpha1", "ClusterReport"),
    ],
  }],
  reportsForOthers: true,
  *draw({ body, origin }, context): Iterable<Drawn> {
    for (const found of reportsIn(body)) {
      if ("error" in found) yield found;
      else yield* alikeTwins(fromReport(found, { origin, context }));
    }
  },
};

function reports(group: string, version: string, kind: string): WatchedResource {
  return {
    group,
    version,
    plural: `${kind.toLowerCase()}s`,
    kind,
    namespaced: !kind.startsWith("Cluster"),
    eventTypes: ["policy-violation", "policy-error"],
  };
}

interface FoundReport {
  readonly report: JsonObject;
  readonly kind: string;
  readonly path: string;
}

/** The report around a result. */
interface Around {
  readonly report: JsonObject;
  readonly reservedSources: ReadonlySet<string>;
  /** For resources that name none. */
  readonly namespace: string;
  /** The resource of results that name none: `scope`, else the owner. */
  readonly subject: Resource | undefined;
}

function* fromReport(
  { report, kind, path }: FoundReport,
  { origin, context: { reservedSources } }: { readonly origin: Origin; readonly context: DrawContext },
): Generator<Drawn> {
  const results = at(report, "results");
  if (!KINDS.has(kind) && (kind !== "" || results === undefined)) {
    const received = kind === "" ? "none" : JSON.stringify(kind.slice(0, 63));
    yield unread(
      "wrong_shape",
      joined(path, "kind"),
      `expected a kind of policy report, received ${received}`,
    );
    return;
  }
  // A report without results reports no findings.
  if (results === undefined || results === null) return;
  const resultsPath = joined(path, "results");
  if (!Array.isArray(results)) {
    yield unread("wrong_shape", resultsPath, `expected an array, received ${shapeOf(results)}`);
    return;
  }
  const namespace = textAt(report, "metadata", "namespace") || (origin.namespace ?? "");
  const around = { report, reservedSources, namespace, subject: reportSubject(report, namespace) };
  for (const [index, result] of results.entries()) {
    yield* fromResult(result, { path: `${resultsPath}[${index}]`, around });
  }
}

function reportSubject(report: JsonObject, namespace: string): Resource | undefined {
  return resourceIn(at(report, "scope"), namespace) ?? resourceIn(ownerOf(report), namespace);
}

function resourceIn(reference: Field, namespace: string): Resource | undefined {
  const kind = textAt(reference, "kind");
  const name = textAt(reference, "name");
  if (kind === "" && name === "") return undefined;
  const own = textAt(reference, "namespace");
  return subjectOf({ apiVersion: textAt(reference, "apiVersion"), kind, name, namespace: own || namespace });
}

interface ResultContext {
  readonly path: string;
  readonly around: Around;
}

function* fromResult(result: Json, { path, around }: ResultContext): Generator<Drawn> {
  if (!isObject(result)) {
    yield unread("wrong_shape", path, `expected an object, received ${shapeOf(result)}`);
    return;
  }
  // v1alpha1 called it `status`.
  const outcome = firstText(textAt(result, "result"), textAt(result, "status")).trim().toLowerCase();
  if (outcome === "pass" || outcome === "skip") return;
  if (outcome !== "fail" && outcome !== "warn" && outcome !== "error") {
    const reason = outcome === "" ? "missing_field" : "invalid_value";
    yield unread(reason, `${path}.result`, "expected one of pass|fail|warn|error|skip");
    return;
  }
  const rule = readRule(result);
  if (rule.policy === "" && rule.reported === "") {
    yield unread("missing_field", `${path}.policy`, "expected the name of a policy");
    return;
  }
  for (
    const [key, references] of [["resources", at(result, "resources")], [
      "subjects",
      at(result, "subjects"),
    ]] as const
  ) {
    if (
      references === undefined || references === null ||
      (Array.isArray(references) && references.length === 0)
    ) continue;
    if (!Array.isArray(references)) {
      yield unread("wrong_shape", `${path}.${key}`, `expected an array, received ${shapeOf(references)}`);
      continue;
    }
    for (const [index, reference] of references.entries()) {
      const resource = resourceIn(reference, around.namespace);
      if (resource) yield { event: toEvent(result, { outcome, rule, resource, around }) };
      else {
        const message = "expected the kind and name of a resource";
        yield unread("missing_field", `${path}.${key}[${index}]`, message);
      }
    }
    return;
  }
  yield { event: toEvent(result, { outcome, rule, resource: around.subject, around }) };
}

interface Rule {
  readonly policy: string;
  /** Less what Kyverno prepends to rules it derives for controllers: one rule, whatever it is applied to. */
  readonly lasting: string;
  readonly reported: string;
}

function readRule(result: JsonObject): Rule {
  const reported = textAt(result, "rule");
  const lasting = ["autogen-cronjob-", "autogen-"].find((prefix) => reported.startsWith(prefix));
  return {
    policy: textAt(result, "policy"),
    lasting: lasting === undefined ? reported : reported.slice(lasting.length),
    reported,
  };
}

interface Verdict {
  readonly outcome: "fail" | "warn" | "error";
  readonly rule: Rule;
  readonly resource: Resource | undefined;
  readonly around: Around;
}

function toEvent(result: JsonObject, { outcome, rule, resource, around }: Verdict): DrawnEvent {
  const engine = firstText(textAt(result, "source"), textAt(around.report, "source"));
  const source = otherTool(engine, around.reservedSources);
  const name = [rule.policy, rule.lasting].filter(Boolean).join("/");
  const message = textAt(result, "message");
  const detectedAt = timeOf(at(result, "timestamp")) ??
    textAt(around.report, "metadata", "creationTimestamp");
  const about = resource ?? (around.namespace === "" ? undefined : { namespace: around.namespace });
  return {
    ...(source === undefined ? {} : { source }),
    category: "security",
    severity: outcome === "error" ? "low" : firstText(text(at(result, "severity")), "medium"),
    eventType: outcome === "error" ? "policy-error" : "policy-violation",
    message: message === "" ? `${name}: ${outcome}` : `${name}: ${message}`,
    rule: ruleName(rule),
    rules: ruleNames(rule),
    ...(about ? { resource: about } : {}),
    details: withoutEmpty({
      policy: rule.policy,
      rule: rule.reported,
      result: outcome,
      category: textAt(result, "category"),
      engine,
      scored: at(result, "scored") === false ? false : undefined,
      properties: shownProperties(result),
    }),
    ...(detectedAt === "" ? {} : { detectedAt }),
    identity: withoutEmpty({
      policy: rule.policy,
      rule: rule.lasting,
      result: outcome,
      resource: resource ? lastingSubject(resource) : undefined,
      // Results without a resource are told apart by the report that holds them: a node's, a suite's.
      report: resource ? "" : textAt(around.report, "metadata", "name"),
    }),
  };
}

/** The rule with its policy, as `spec.rule`. */
function ruleName({ policy, lasting }: Rule): string {
  if (lasting === "") return policy;
  return policy === "" ? lasting : `${policy}/${lasting}`;
}

function ruleNames({ policy, lasting, reported }: Rule): string[] {
  const names = policy === "" ? [] : [policy];
  for (const rule of new Set([lasting, reported])) {
    if (rule !== "") names.push(policy === "" ? rule : `${policy}/${rule}`);
  }
  return names;
}

const OWN_ENGINES: ReadonlySet<string> = new Set([
  "",
  "kyverno",
  "validatingadmissionpolicy",
  "mutatingadmissionpolicy",
]);

/** The source a result belongs to where its tool is another than Kyverno. No report can take a reserved name. */
function otherTool(engine: string, reserved: ReadonlySet<string>): string | undefined {
  const word = engine.trim().toLowerCase();
  if (OWN_ENGINES.has(word) || (word.startsWith("kyverno") && word.endsWith("policy"))) return undefined;
  const name = sourceName(word);
  return name === "" || reserved.has(name) ? undefined : name;
}

/** `{seconds, nanos}` in milliseconds, or a time in words. */
function timeOf(timestamp: Field): number | string | undefined {
  if (typeof timestamp === "string") return timestamp === "" ? undefined : timestamp;
  const seconds = number(at(timestamp, "seconds"));
  if (seconds === undefined) return undefined;
  return seconds * 1000 + Math.trunc((number(at(timestamp, "nanos")) ?? 0) / 1e6);
}

/** Properties that do not change between scans of one finding, by their names in lower case. */
const SHOWN_PROPERTIES: ReadonlySet<string> = new Set([
  "artifact.repository",
  "artifact.tag",
  "binding",
  "controls",
  "details",
  "fixedversion",
  "index",
  "installedversion",
  "primaryurl",
  "reason",
  "resolution",
  "scan",
  "standard",
  "suite",
  "total_risk",
  "version",
  "vulnerabilityid",
]);

/** The properties of a result that `details` shows. */
function shownProperties(result: JsonObject): JsonObject | undefined {
  // v1alpha1 called them `data`.
  const properties = at(result, "properties") ?? at(result, "data");
  if (!isObject(properties)) return undefined;
  const shown: [string, string][] = [];
  for (const [key, value] of Object.entries(properties)) {
    if (SHOWN_PROPERTIES.has(key.toLowerCase()) && text(value) !== "") shown.push([key, texts(value).join()]);
  }
  return shown.length === 0 ? undefined : Object.fromEntries(shown);
}
