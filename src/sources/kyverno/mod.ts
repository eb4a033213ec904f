/** Policy reports of Kyverno, and of other tools that write the same kinds. */
import type { Drawn, DrawnEvent, Origin } from "../../model/event.ts";
import { isObject, type Json, type JsonObject } from "../../model/json.ts";
import type { Resource } from "../../model/observation.ts";
import type { ResourceType } from "../../kube/api.ts";
import { otherTool, shownProperties, timeOf } from "./fields.ts";
import { at, type Field, firstText, shapeOf, text, textAt, unread, withoutEmpty } from "../read.ts";
import { alikeTwins, joined, reportsIn } from "../reports.ts";
import { defineSource } from "../source.ts";
import { lastingSubject, ownerOf, subjectOf } from "../subjects.ts";

const POLICY_GROUP = "wgpolicyk8s.io";
const POLICY_VERSIONS = ["v1alpha2", "v1beta2", "v1beta1", "v1alpha1"];
const KINDS: ReadonlySet<string> = new Set([
  "PolicyReport",
  "ClusterPolicyReport",
  "Report",
  "ClusterReport",
]);
const IDENTITY = ["policy", "rule", "result", "resource", "report"];

const POLICY_EVENT_TYPES = ["policy-violation", "policy-error"];

/** Failed and unevaluable rules of policy reports, one for each resource. */
export const kyverno = defineSource({
  name: "kyverno",
  kind: "finding",
  input: {
    type: "informer",
    resources: [
      ...POLICY_VERSIONS.map((version) => policyReports(version, { cluster: false })),
      ...POLICY_VERSIONS.map((version) => policyReports(version, { cluster: true })),
      { group: "openreports.io", version: "v1alpha1", plural: "reports", kind: "Report", namespaced: true },
      {
        group: "openreports.io",
        version: "v1alpha1",
        plural: "clusterreports",
        kind: "ClusterReport",
        namespaced: false,
      },
    ],
  },
  categories: ["security"],
  summary: "Policy violations from PolicyReports and OpenReports, by Kyverno or any tool that writes them",
  identity: { "policy-violation": IDENTITY, "policy-error": IDENTITY },
  reports: {
    policyreports: POLICY_EVENT_TYPES,
    clusterpolicyreports: POLICY_EVENT_TYPES,
    reports: POLICY_EVENT_TYPES,
    clusterreports: POLICY_EVENT_TYPES,
  },
  *toEvents({ body, origin }): Iterable<Drawn> {
    for (const found of reportsIn(body)) {
      if ("error" in found) yield found;
      else yield* alikeTwins(fromReport(found, origin));
    }
  },
});

function policyReports(version: string, { cluster }: { cluster: boolean }): ResourceType {
  return {
    group: POLICY_GROUP,
    version,
    plural: cluster ? "clusterpolicyreports" : "policyreports",
    kind: cluster ? "ClusterPolicyReport" : "PolicyReport",
    namespaced: !cluster,
  };
}

interface FoundReport {
  readonly report: JsonObject;
  readonly kind: string;
  readonly path: string;
}

/** The report around a result. */
interface Context {
  readonly report: JsonObject;
  /** For resources that name none. */
  readonly namespace: string;
  /** Of results that say nothing of their own: `scope`, else the owner. */
  readonly subject: Resource | undefined;
}

function* fromReport({ report, kind, path }: FoundReport, origin: Origin): Generator<Drawn> {
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
  // A report without results is how "nothing to say" is written.
  if (results === undefined || results === null) return;
  const resultsPath = joined(path, "results");
  if (!Array.isArray(results)) {
    yield unread("wrong_shape", resultsPath, `expected an array, received ${shapeOf(results)}`);
    return;
  }
  const namespace = textAt(report, "metadata", "namespace") || (origin.namespace ?? "");
  const context = { report, namespace, subject: reportSubject(report, namespace) };
  for (const [index, result] of results.entries()) {
    yield* fromResult(result, { path: `${resultsPath}[${index}]`, context });
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
  readonly context: Context;
}

function* fromResult(result: Json, { path, context }: ResultContext): Generator<Drawn> {
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
      const resource = resourceIn(reference, context.namespace);
      if (resource) yield { event: toEvent(result, { outcome, rule, resource, context }) };
      else {yield unread(
          "missing_field",
          `${path}.${key}[${index}]`,
          "expected the kind and name of a resource",
        );}
    }
    return;
  }
  yield { event: toEvent(result, { outcome, rule, resource: context.subject, context }) };
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
  readonly context: Context;
}

function toEvent(result: JsonObject, { outcome, rule, resource, context }: Verdict): DrawnEvent {
  const engine = firstText(textAt(result, "source"), textAt(context.report, "source"));
  const source = otherTool(engine);
  const name = [rule.policy, rule.lasting].filter(Boolean).join("/");
  const message = textAt(result, "message");
  const detectedAt = timeOf(at(result, "timestamp")) ??
    textAt(context.report, "metadata", "creationTimestamp");
  const about = resource ?? (context.namespace === "" ? undefined : { namespace: context.namespace });
  return {
    ...(source === undefined ? {} : { source }),
    category: "security",
    severity: outcome === "error" ? "low" : firstText(text(at(result, "severity")), "medium"),
    eventType: outcome === "error" ? "policy-error" : "policy-violation",
    message: message === "" ? `${name}: ${outcome}` : `${name}: ${message}`,
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
      // Results about nothing in particular are told apart by the report that holds them: a node's, a suite's.
      report: resource ? "" : textAt(context.report, "metadata", "name"),
    }),
  };
}

function ruleNames({ policy, lasting, reported }: Rule): string[] {
  const names = policy === "" ? [] : [policy];
  for (const rule of new Set([lasting, reported])) {
    if (rule !== "") names.push(policy === "" ? rule : `${policy}/${rule}`);
  }
  return names;
}
