/** Policy reports of Kyverno, and of other tools that write the same kinds. */
import type { DrawContext, Drawn, DrawnEvent, Origin } from "../../model/event.ts";
import { sourceName, topOfChain, withLastingNames, workloadOf } from "../../model/identity.ts";
import {
  at,
  type Field,
  firstText,
  isObject,
  type Json,
  type JsonObject,
  list,
  number,
  shapeOf,
  text,
  textAt,
  withoutEmpty,
} from "../../model/json.ts";
import { LIMITS, type Resource } from "../../model/observation.ts";
import { cleanText } from "../../text/clean.ts";
import { formatReceived } from "../../text/problem.ts";
import { words } from "../../text/setting.ts";
import { type Source, unread, type WatchedResource } from "../source.ts";
import {
  alikeTwins,
  creationOf,
  joined,
  lastingMessage,
  ownerOf,
  reportedOwner,
  reportsIn,
  resourceIdentity,
  sharedName,
  sharedText,
  subjectOf,
  toldOf,
  withoutPrefix,
} from "../objects.ts";

/** The source of results whose engine is not a source itself. */
const POLICY_REPORT = "policy-report";

const POLICY_VERSIONS = ["v1alpha2", "v1beta2", "v1beta1", "v1alpha1"];
const KINDS: ReadonlySet<string> = new Set([
  "PolicyReport",
  "ClusterPolicyReport",
  "Report",
  "ClusterReport",
]);
const IDENTITY = [
  "policy",
  "rule",
  "policyKind",
  "result",
  "resource",
  "report",
  "engine",
  "properties",
  "message",
];

/** Engines that write policy reports and whose results are stored under the engine's name. */
export const REPORT_ENGINES = words(
  "REPORT_ENGINES",
  "kubearmor,kubewarden,jspolicy,tracee,neuvector",
  "Engines named by policy reports that are sources of their own, comma-separated; any other is policy-report",
);

/** Failed and unevaluable rules of policy reports, one for each resource. */
export const kyverno: Source = {
  name: "kyverno",
  kind: "finding",
  summary: "Policy violations from PolicyReports and OpenReports, by Kyverno or any tool that writes them",
  eventTypes: {
    "policy-violation": { category: "security", identity: IDENTITY },
    "policy-error": { category: "security", identity: IDENTITY },
  },
  volatile: [
    "the report's name where a resource is named, its uid and times",
    "a ReplicaSet's hash, the suffix of its Pods, the number of a CronJob's Job",
    "the prefix `autogen-` of rules, the API group of the report",
    "score, fixedVersion, tags, digests and resultID among the properties",
    "the message where other fields tell results apart, else times, ids, numbers that stand alone and generated names in it",
    "the order of results and resources",
  ],
  feeds: [{
    type: "watch",
    resources: [
      ...POLICY_VERSIONS.map((version) => reports("wgpolicyk8s.io", version, "PolicyReport")),
      ...POLICY_VERSIONS.map((version) => reports("wgpolicyk8s.io", version, "ClusterPolicyReport")),
      reports("openreports.io", "v1alpha1", "Report"),
      reports("openreports.io", "v1alpha1", "ClusterReport"),
    ],
  }],
  settings: [REPORT_ENGINES],
  reportsForOthers: { listed: REPORT_ENGINES, rest: POLICY_REPORT },
  volatileDetails: ["reportedOwner", "pod"],
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
  readonly context: DrawContext;
  /** For resources without a namespace. */
  readonly namespace: string;
  /** The resource of results without one: `scope`, else the owner. */
  readonly subject: Resource | undefined;
}

function* fromReport(
  { report, kind, path }: FoundReport,
  { origin, context }: { readonly origin: Origin; readonly context: DrawContext },
): Generator<Drawn> {
  const results = at(report, "results");
  if (!KINDS.has(kind) && (kind !== "" || results === undefined)) {
    const received = kind === "" ? "none" : formatReceived(kind);
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
  const namespace = sharedName(report, "metadata", "namespace") || (origin.namespace ?? "");
  const around = { report, context, namespace, subject: reportSubject(report, namespace) };
  for (const [index, result] of results.entries()) {
    yield* fromResult(result, { path: `${resultsPath}[${index}]`, around });
  }
}

/** The resource of results without one: the report's scope, else its owner. */
export function reportSubject(report: JsonObject, namespace: string): Resource | undefined {
  return resourceIn(at(report, "scope"), namespace) ?? resourceIn(ownerOf(report), namespace);
}

/** The resources that a result names. */
export function resultResources(result: Json, namespace: string): readonly Resource[] {
  const [named = []] = [at(result, "resources"), at(result, "subjects")].map(list)
    .filter(({ length }) => length > 0);
  return named.flatMap((reference) => resourceIn(reference, namespace) ?? []);
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
  const verdict = verdictOf(result, { outcome, rule, around });
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
      if (resource) yield { event: toEvent(verdict, resource) };
      else {
        const message = "expected the kind and name of a resource";
        yield unread("missing_field", `${path}.${key}[${index}]`, message);
      }
    }
    return;
  }
  yield { event: toEvent(verdict, around.subject) };
}

interface Rule {
  readonly policy: string;
  /** The rule without the prefix that Kyverno adds to rules it derives for controllers, so that it is one rule for all kinds. */
  readonly lasting: string;
  readonly reported: string;
}

function readRule(result: JsonObject): Rule {
  const reported = sharedName(result, "rule");
  const lasting = ["autogen-cronjob-", "autogen-"].find((prefix) => reported.startsWith(prefix));
  return {
    policy: sharedName(result, "policy"),
    lasting: lasting === undefined ? reported : reported.slice(lasting.length),
    reported,
  };
}

/** What all findings of a result share. It is read once: a result may name thousands of resources. */
interface Verdict {
  readonly outcome: "fail" | "warn" | "error";
  readonly rule: Rule;
  readonly around: Around;
  readonly engine: Engine;
  readonly properties: JsonObject;
  readonly telling: Telling;
  /** The tool's words for the identity, and those that are shown. */
  readonly message: string;
  /** The message for the identity of another engine's finding whose generated names it does not hold. */
  readonly lasting: string;
  readonly words: string;
  readonly description: string;
  readonly severity: string;
  readonly detectedAt: string | number;
  readonly details: Readonly<Record<string, Field>>;
}

function verdictOf(
  result: JsonObject,
  { outcome, rule, around }: Pick<Verdict, "outcome" | "rule" | "around">,
): Verdict {
  const { report, context } = around;
  const said = firstText(sharedName(result, "source"), sharedName(report, "source"));
  const engine = engineOf(said, {
    engines: context.setting(REPORT_ENGINES),
    reserved: context.reservedSources,
  });
  const properties = propertiesOf(result);
  const { message, description } = messageIn(result, properties);
  const isMatch = showsMatch(engine);
  return {
    outcome,
    rule,
    around,
    engine,
    properties,
    telling: tellingOf(properties),
    message,
    lasting: engine.source === undefined ? "" : lastingMessage(message),
    words: isMatch ? [rule.policy, rule.lasting].filter(Boolean).join(": ") : toldOfRule(message, rule),
    description: isMatch ? "" : description,
    severity: outcome === "error" ? "low" : firstText(sharedName(result, "severity"), "medium"),
    detectedAt: timeOf(at(result, "timestamp")) ?? sharedName(creationOf(report)),
    details: {
      policy: rule.policy,
      rule: rule.lasting,
      result: outcome,
      category: sharedName(result, "category"),
      engine: said,
      scored: at(result, "scored") === false ? false : undefined,
      primaryLink: sharedText(firstText(text(properties.primaryLink), text(properties.primaryURL))),
      properties: shownProperties(properties),
    },
  };
}

function toEvent(verdict: Verdict, own: Resource | undefined): DrawnEvent {
  const { outcome, rule, engine, properties, telling, words, description, detectedAt } = verdict;
  const { report, namespace } = verdict.around;
  const isForeign = engine.source !== undefined;
  const from = own ?? (isForeign ? podOf(telling, { properties, namespace }) : undefined);
  const resource = from && topOfChain(from);
  const owners = from && resource ? { from, to: resource } : undefined;
  const said = owners ? toldOf(words, owners) : words;
  const fixedVersion = isForeign ? sharedName(properties.fixedVersion) : "";
  const about = resource ?? (namespace === "" ? undefined : { namespace });
  return {
    ...(engine.source === undefined ? {} : { source: engine.source }),
    category: "security",
    severity: verdict.severity,
    eventType: outcome === "error" ? "policy-error" : "policy-violation",
    message: messageOf(said, { outcome, ...(isForeign && { telling, fixedVersion }) }),
    rule: ruleName(rule),
    rules: ruleNames(rule),
    ...(about ? { resource: about } : {}),
    details: withoutEmpty({
      ...verdict.details,
      description: owners ? toldOf(description, owners) : description,
      fixedVersion,
      ...(isForeign ? { container: telling.container, pod: telling.pod } : {}),
      reportedOwner: owners && reportedOwner(owners),
    }),
    prose: isForeign || outcome === "error" ? MASKED_OR_NAMES : [...MASKED_OR_NAMES, "message"],
    ...(detectedAt === "" ? {} : { detectedAt }),
    identity: withoutEmpty({
      policy: rule.policy,
      rule: rule.lasting,
      policyKind: isForeign || rule.lasting !== "" ? "" : policyKindOf(engine),
      result: outcome,
      resource: own && resource ? resourceIdentity(resource) : undefined,
      // Results without a resource are distinguished by their report: a node's, a suite's.
      report: own ? "" : sharedName(report, "metadata", "name"),
      engine: engine.source === POLICY_REPORT ? engine.word : "",
      ...(isForeign ? tellingIdentity(verdict, resource) : {}),
    }),
  };
}

/**
 * Details that hold only names, and the properties, which are masked once for all resources. The others are free text: a
 * policy's message, the output of another engine, and the reason why a rule could not be evaluated, which may quote a URL.
 */
const MASKED_OR_NAMES = [
  "policy",
  "rule",
  "result",
  "category",
  "engine",
  "container",
  "pod",
  "reportedOwner",
  "properties",
];

/** The kind of the policy, if it is not one of Kyverno's own: two kinds may have policies of one name. */
function policyKindOf({ word }: Engine): string {
  return word === "kyverno" ? "" : word;
}

/** The Pod in the properties, for results of other engines without a resource. */
function podOf(
  { pod }: Telling,
  { properties, namespace }: { readonly properties: JsonObject; readonly namespace: string },
): Resource | undefined {
  if (pod === "") return undefined;
  return subjectOf({ kind: "Pod", name: pod, namespace: namespace || text(properties["k8s.ns.name"]) });
}

/** The path at which a rule that Kyverno derived for controllers failed, to be written as in the rule for Pods. */
const TEMPLATE_PATH = /( at path \/)spec\/(?:jobTemplate\/spec\/)?template\//g;

/**
 * Writes the message of a derived rule as that of the rule itself, so that a finding has one text for every kind it was
 * found on. Removes the rule's name if Kyverno repeats it.
 */
function toldOfRule(message: string, { lasting, reported }: Rule): string {
  const told = lasting === reported
    ? message
    : message.replaceAll(reported, () => lasting).replace(TEMPLATE_PATH, "$1");
  return lasting === "" ? told : told.replaceAll(`rule ${lasting} failed at path`, "failed at path");
}

/** The keys of messages that Trivy's adapter numbers in the properties if a check has several. */
const NUMBERED_MESSAGE = /^\d{1,4}\. message$/;

/** The message of a result; if it has several, all of them, and as description the sentence in their place. */
function messageIn(result: JsonObject, properties: JsonObject) {
  const said = sharedText(textAt(result, "message"));
  const numbered = Object.keys(properties).filter((key) => NUMBERED_MESSAGE.test(key))
    .map((key) => text(properties[key])).filter(Boolean).toSorted();
  return numbered.length === 0
    ? { message: said, description: "" }
    : { message: sharedText(numbered.join("; ")), description: said };
}

/** True for results of Trivy's exposed secrets, whose message is the text around the secret: it is never shown. */
function showsMatch({ word }: Engine): boolean {
  return /exposed.?secret/.test(word);
}

/** The messages of results without a message. */
const VERDICTS = {
  fail: "Policy violated",
  warn: "Policy violated (warning)",
  error: "Rule could not be evaluated",
};

interface MessageContext {
  readonly outcome: Verdict["outcome"];
  /** Set for results of other engines. */
  readonly telling?: Telling;
  readonly fixedVersion?: string;
}

/** The tool's message, after properties that it lacks: `libssl3 3.0.1 in web (fixed in 3.0.2): TLS overread`. */
function messageOf(said: string, { outcome, telling, fixedVersion = "" }: MessageContext): string {
  const words = said === "" ? VERDICTS[outcome] : outcome === "error" ? `${VERDICTS.error}: ${said}` : said;
  if (!telling) return words;
  const { index, resource, installedVersion, container } = telling;
  // As much as is shown, so that little is searched for each of thousands of resources.
  const title = withoutPrefix(words, resource).slice(0, 2 * LIMITS.message);
  const lacks = (word: string) => word !== "" && !title.includes(word);
  // A version is shown with its package.
  const subject = lacks(installedVersion)
    ? [resource, installedVersion].filter(Boolean).join(" ")
    : lacks(resource)
    ? resource
    : "";
  const lacking = [
    lacks(index) ? index : "",
    subject,
    lacks(container) ? `in ${container}` : "",
    lacks(fixedVersion) ? `(fixed in ${fixedVersion})` : "",
  ].filter(Boolean).join(" ");
  return lacking === "" ? words : `${lacking}: ${title}`;
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

/** Whose a result is. */
interface Engine {
  /** The source it is stored under; undefined: `kyverno`. */
  readonly source?: string;
  /** The engine's name in lower case; "" if the result has none. */
  readonly word: string;
}

/**
 * The source of a result: `kyverno`, an engine that the operator lists (`engines`), else `policy-report`. So a report can
 * neither use a reserved name nor invent a source.
 */
function engineOf(
  said: string,
  { engines, reserved }: { readonly engines: readonly string[]; readonly reserved: ReadonlySet<string> },
): Engine {
  const word = said.trim().toLowerCase();
  if (OWN_ENGINES.has(word) || (word.startsWith("kyverno") && word.endsWith("policy"))) return { word };
  const name = sourceName(word);
  const isListed = name !== "" && !reserved.has(name) &&
    engines.some((engine) => sourceName(engine) === name);
  return { source: isListed ? name : POLICY_REPORT, word };
}

/** `{seconds, nanos}` in milliseconds, or a time in words. */
function timeOf(timestamp: Field): number | string | undefined {
  if (typeof timestamp === "string") return timestamp === "" ? undefined : sharedName(timestamp);
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
  "index",
  "installedversion",
  "reason",
  "resolution",
  "resource",
  "scan",
  "standard",
  "suite",
  "total_risk",
  "version",
  "vulnerabilityid",
]);

/** The properties of a result. v1alpha1 called them `data`. */
function propertiesOf(result: JsonObject): JsonObject {
  const properties = at(result, "properties") ?? at(result, "data");
  return isObject(properties) ? properties : {};
}

/** The properties that are shown, masked, as far as details have room for them. */
function shownProperties(properties: JsonObject): JsonObject | undefined {
  const shown: [string, string][] = [];
  let room = LIMITS.detailsBytes;
  for (const [key, value] of Object.entries(properties)) {
    const word = SHOWN_PROPERTIES.has(key.toLowerCase()) ? cleanText(text(value), room) : "";
    if (word === "") continue;
    room -= word.length;
    shown.push([key, word]);
  }
  return shown.length === 0 ? undefined : Object.fromEntries(shown);
}

/** The object that a result of another engine is about, from its properties; "" for properties that are absent. */
interface Telling {
  readonly resource: string;
  readonly index: string;
  readonly installedVersion: string;
  readonly container: string;
  readonly pod: string;
}

/** The properties that distinguish results of one policy and rule. No position is used, so that fixing one result does not rename others. */
function tellingOf(properties: JsonObject): Telling {
  const word = (key: string) => sharedName(properties[key]);
  return {
    resource: word("resource"),
    index: word("index"),
    installedVersion: word("installedVersion"),
    container: word("container_name"),
    pod: firstText(word("k8s.pod.name"), word("pod_name"), word("pod")),
  };
}

/** The identity of a result of another engine, in addition to policy, rule and resource. Part of identity version 1. */
function tellingIdentity(
  { telling: { pod, ...telling }, message, lasting }: Verdict,
  resource: Resource = {},
): JsonObject {
  const properties = withoutEmpty({ ...telling, pod: workloadOf({ kind: "Pod", name: pod }) ?? "" });
  if (Object.keys(properties).length > 0) return { properties };
  const named = withLastingNames(message, resource);
  return withoutEmpty({ message: named === message ? lasting : lastingMessage(named) });
}
