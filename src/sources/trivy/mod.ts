/** Trivy Operator's reports: vulnerabilities, failed checks, exposed secrets. */
import type { Drawn, DrawnEvent, DrawnNote, Origin } from "../../model/event.ts";
import { MAX_IDENTITY_TEXT, reportedWorkload, workloadKey } from "../../model/identity.ts";
import {
  at,
  firstText,
  isObject,
  type Json,
  type JsonObject,
  number,
  shapeOf,
  text,
  textAt,
  texts,
  withoutEmpty,
} from "../../model/json.ts";
import { LIMITS, type Resource } from "../../model/observation.ts";
import type { PayloadErrorReason } from "../../model/outcome.ts";
import { parseTime } from "../../model/time.ts";
import { formatReceived } from "../../text/problem.ts";
import { type Source, unread, type WatchedResource } from "../source.ts";
import {
  alikeTwins,
  creationOf,
  joined,
  lastingWords,
  ownerOf,
  reportedOwner,
  reportsIn,
  resourceIdentity,
  sharedName,
  subjectOf,
  type Succession,
  toldOf,
  withoutPrefix,
  wordAt,
} from "../objects.ts";

const CHECK_IDENTITY = ["eventType", "resource", "check", "messages"];

/** Findings of Trivy Operator. Compliance reports repeat the checks of the others; SBOMs hold no findings. */
export const trivy: Source = {
  name: "trivy",
  kind: "finding",
  summary:
    "Vulnerabilities, misconfigurations, exposed secrets, RBAC and infrastructure risks found by Trivy Operator",
  eventTypes: {
    vulnerability: {
      category: "security",
      identity: [
        "eventType",
        "resource",
        "container",
        "vulnerabilityID",
        "package",
        "installedVersion",
        "purl",
        "path",
        "target",
      ],
    },
    misconfiguration: { category: "security", identity: CHECK_IDENTITY },
    "exposed-secret": {
      category: "security",
      identity: ["eventType", "resource", "container", "rule", "path"],
    },
    "rbac-risk": { category: "security", identity: CHECK_IDENTITY },
    "infra-risk": { category: "security", identity: CHECK_IDENTITY },
  },
  volatile: [
    "the report's name, uid and times",
    "a ReplicaSet's hash, the number of a CronJob's Job",
    "the image's tag and digest, also in `target`",
    "the qualifiers of the purl (`distro`, `arch`)",
    "`score`, `fixedVersion`, `title`, links and dates",
    "the order of entries and of a check's messages",
    "the match and the lines of a secret",
  ],
  feeds: [{
    type: "watch",
    resources: [
      expiring("VulnerabilityReport", "vulnerability"),
      expiring("ClusterVulnerabilityReport", "vulnerability"),
      reports("ConfigAuditReport", "misconfiguration"),
      reports("ClusterConfigAuditReport", "misconfiguration"),
      expiring("ExposedSecretReport", "exposed-secret"),
      reports("RbacAssessmentReport", "rbac-risk"),
      reports("ClusterRbacAssessmentReport", "rbac-risk"),
      reports("InfraAssessmentReport", "infra-risk"),
      reports("ClusterInfraAssessmentReport", "infra-risk"),
    ],
  }],
  volatileDetails: ["score", "reportedOwner"],
  scopeOf(report) {
    const expiresAt = expiryOf(report);
    return {
      workload: workloadKey(reportedWorkload(reportedResource(report, { confined: true }))),
      part: wordAt(at(report, "metadata", "labels"), CONTAINER_NAME),
      ...(expiresAt !== undefined && { expiresAt }),
    };
  },
  *draw({ body, origin }): Iterable<Drawn | DrawnNote> {
    for (const found of reportsIn(body)) {
      if ("error" in found) yield found;
      else yield* fromReport(found, origin);
    }
  },
};

function reports(kind: string, eventType: string): WatchedResource {
  return {
    group: "aquasecurity.github.io",
    version: "v1alpha1",
    plural: `${kind.toLowerCase()}s`,
    kind,
    namespaced: !kind.startsWith("Cluster"),
    eventTypes: [eventType],
  };
}

/** A resource whose reports the operator deletes at the age in their annotation, by default after a day. */
function expiring(kind: string, eventType: string): WatchedResource {
  return { ...reports(kind, eventType), expires: true };
}

const REPORT_TTL = "trivy-operator.aquasecurity.github.io/report-ttl";

/** When the operator deletes a report, in milliseconds since the epoch; undefined if it does not. */
function expiryOf(report: JsonObject): number | undefined {
  const created = parseTime(textAt(report, "metadata", "creationTimestamp"));
  const ttlMs = goDurationMs(textAt(report, "metadata", "annotations", REPORT_TTL));
  return created === undefined || ttlMs <= 0 ? undefined : created.ms + ttlMs;
}

const GO_UNITS_MS: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1_000, ms: 1 };

/** A duration as Go writes it (`24h0m0s`), in milliseconds; 0 if it is not one. */
function goDurationMs(text: string): number {
  if (!/^(?:\d{1,9}(?:\.\d{1,9})?(?:h|ms|m|s))+$/.test(text)) return 0;
  let sum = 0;
  for (const [, number, unit = ""] of text.matchAll(/([\d.]+)([hms]+)/g)) {
    sum += Number(number) * (GO_UNITS_MS[unit] ?? 0);
  }
  return sum;
}

interface ReportKind {
  readonly eventType: string;
  readonly list: "vulnerabilities" | "checks" | "secrets";
}

const KINDS: ReadonlyMap<string, ReportKind> = new Map([
  ["VulnerabilityReport", { eventType: "vulnerability", list: "vulnerabilities" }],
  ["ConfigAuditReport", { eventType: "misconfiguration", list: "checks" }],
  ["ExposedSecretReport", { eventType: "exposed-secret", list: "secrets" }],
  ["RbacAssessmentReport", { eventType: "rbac-risk", list: "checks" }],
  ["InfraAssessmentReport", { eventType: "infra-risk", list: "checks" }],
]);

/** Reports of the same operator that are not read, and why. */
const UNREAD_KINDS: ReadonlyMap<string, string> = new Map([
  ["ComplianceReport", "is a summary of others"],
  ["ComplianceDetailReport", "is a summary of others"],
  ["SbomReport", "lists packages and holds no findings"],
]);

interface FoundReport {
  readonly report: JsonObject;
  readonly kind: string;
  readonly path: string;
}

function* fromReport({ report, kind, path }: FoundReport, origin: Origin): Generator<Drawn | DrawnNote> {
  const content = at(report, "report");
  const scopeless = kind.startsWith("Cluster") ? kind.slice("Cluster".length) : kind;
  const unreadWhy = UNREAD_KINDS.get(scopeless);
  if (unreadWhy !== undefined) {
    yield { note: "skipped", why: `${kind} ${unreadWhy}` };
    return;
  }
  const reportKind = KINDS.get(scopeless) ?? (kind === "" ? kindByContent(content) : undefined);
  if (!reportKind) {
    yield unread(
      "wrong_shape",
      joined(path, "kind"),
      `expected a kind of Trivy report, received ${shown(kind)}`,
    );
    return;
  }
  if (!isObject(content)) {
    yield unread("missing_field", joined(path, "report"), `expected an object, received ${shapeOf(content)}`);
    return;
  }
  const items = at(content, reportKind.list);
  const itemsPath = joined(path, `report.${reportKind.list}`);
  // Go writes an empty list as null. An absent list is unknown, not empty.
  if (!Array.isArray(items)) {
    if (items === null) return;
    const reason = items === undefined ? "missing_field" : "wrong_shape";
    yield unread(reason, itemsPath, `expected an array, received ${shapeOf(items)}`);
    return;
  }
  // Trivy lists a package once for each layer that has it.
  yield* alikeTwins(fromItems(items, { path: itemsPath, kind: reportKind, about: aboutOf(report, origin) }));
}

function shown(kind: string): string {
  return kind === "" ? "none" : formatReceived(kind);
}

/** Typed lists and stored files may lack the kind. */
function kindByContent(content: Json | undefined): ReportKind | undefined {
  return [...KINDS.values()].find(({ list }) => at(content, list) !== undefined);
}

/** The fields that all findings of one report share. */
interface About extends EntryContext {
  readonly resource: Resource;
  readonly container: string;
  readonly repository: string;
  readonly detectedAt: string;
  readonly details: JsonObject;
}

function aboutOf(report: JsonObject, origin: Origin): About {
  const labels = at(report, "metadata", "labels");
  const reported = reportedResource(report, origin);
  const resource = reportedWorkload(reported);
  const owners = { from: reported, to: resource };
  const container = sharedName(wordAt(labels, CONTAINER_NAME));
  const repository = sharedName(report, "report", "artifact", "repository");
  const server = sharedName(report, "report", "registry", "server");
  return {
    owners,
    resource,
    container,
    toldContainer: container === resource.name ? "" : container,
    repository,
    repositories: repository === "" ? [] : [repository, `${server}/${repository}`, `docker.io/${repository}`],
    detectedAt: sharedName(report, "report", "updateTimestamp") || creationOf(report),
    details: withoutEmpty({
      container,
      image: imageOf(at(report, "report")),
      reportedOwner: reportedOwner(owners),
    }),
  };
}

/** Labels of the operator, of Starboard before it, and of its earliest releases. */
const PREFIXES = ["trivy-operator", "starboard", "imgvuln"];
const RESOURCE_KIND = PREFIXES.map((prefix) => `${prefix}.resource.kind`);
const RESOURCE_NAME = PREFIXES.map((prefix) => `${prefix}.resource.name`);
const RESOURCE_NAMESPACE = PREFIXES.map((prefix) => `${prefix}.resource.namespace`);
const CONTAINER_NAME = PREFIXES.map((prefix) => `${prefix}.container.name`);

/** The resource of a report: from the labels, else the annotation with names that are invalid as label values, else the owner (old reports). */
export function reportedResource(report: JsonObject, origin: Origin): Resource {
  const labels = at(report, "metadata", "labels");
  const owner = ownerOf(report);
  const kind = wordAt(labels, RESOURCE_KIND) || textAt(owner, "kind");
  return subjectOf({
    apiVersion: textAt(owner, "kind") === kind ? textAt(owner, "apiVersion") : "",
    kind,
    name: wordAt(labels, RESOURCE_NAME) || wordAt(at(report, "metadata", "annotations"), RESOURCE_NAME) ||
      textAt(owner, "name"),
    namespace: wordAt(labels, RESOURCE_NAMESPACE) || textAt(report, "metadata", "namespace") ||
      (origin.namespace ?? ""),
  });
}

/** `index.docker.io/library/nginx:1.27`, or with `@sha256:…` where there is no tag. */
function imageOf(content: Json | undefined): string {
  const repository = sharedName(content, "artifact", "repository");
  if (repository === "") return "";
  const tag = sharedName(content, "artifact", "tag");
  const digest = sharedName(content, "artifact", "digest");
  const server = sharedName(content, "registry", "server");
  const version = tag !== "" ? `:${tag}` : digest !== "" ? `@${digest}` : "";
  return `${server === "" ? "" : `${server}/`}${repository}${version}`;
}

interface ItemsContext {
  readonly path: string;
  readonly kind: ReportKind;
  readonly about: About;
}

function* fromItems(items: readonly Json[], { path, kind, about }: ItemsContext): Generator<Drawn> {
  const secrets = kind.list === "secrets" ? countBy(items.filter(isObject), secretKey) : new Map();
  for (const [index, item] of items.entries()) {
    const itemPath = `${path}[${index}]`;
    if (!isObject(item)) {
      yield unread("wrong_shape", itemPath, `expected an object, received ${shapeOf(item)}`);
      continue;
    }
    const count = secrets.size === 0 ? 1 : secrets.get(secretKey(item)) ?? 1;
    const finding = readItem(item, { kind, about, count });
    if (finding === undefined) continue;
    if ("problem" in finding) {
      yield unread(finding.reason, `${itemPath}.${finding.field}`, finding.problem);
      continue;
    }
    yield { event: toEvent(finding, { kind, about }) };
  }
}

/** The finding, the problem that keeps it from being read, or undefined for a passed check. */
function readItem(
  item: JsonObject,
  { kind, about, count }: { kind: ReportKind; about: About; count: number },
): Finding | Unreadable | undefined {
  if (kind.list === "vulnerabilities") return readVulnerability(item, about);
  return kind.list === "secrets" ? readSecret(item, { ...about, count }) : readCheck(item, about);
}

function countBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, number> {
  const counts = new Map<string, number>();
  for (const item of items) counts.set(keyOf(item), (counts.get(keyOf(item)) ?? 0) + 1);
  return counts;
}

function toEvent(finding: Finding, { kind, about }: { kind: ReportKind; about: About }): DrawnEvent {
  // Without a label for the container, the repository distinguishes the containers of a workload.
  const container = kind.list === "checks" ? "" : about.container || about.repository;
  return {
    category: "security",
    severity: finding.severity,
    eventType: kind.eventType,
    message: finding.message,
    rule: finding.rule,
    rules: finding.rules,
    prose: finding.prose,
    resource: about.resource,
    details: { ...finding.details, ...about.details },
    ...(about.detectedAt ? { detectedAt: about.detectedAt } : {}),
    identity: {
      eventType: kind.eventType,
      resource: resourceIdentity(about.resource),
      ...(container === "" ? {} : { container }),
      ...finding.identity,
    },
  };
}

/** A finding before its resource is known. */
interface Finding extends Required<Pick<DrawnEvent, "prose">> {
  readonly severity: string | null;
  readonly message: string;
  /** Its id in canonical form, for `spec.rule`. */
  readonly rule: string;
  readonly rules: readonly string[];
  readonly details: JsonObject;
  readonly identity: JsonObject;
}

/** Why an entry cannot be read, and the field concerned. */
interface Unreadable {
  readonly reason: PayloadErrorReason;
  readonly field: string;
  readonly problem: string;
}

function missing(field: string, problem: string): Unreadable {
  return { reason: "missing_field", field, problem };
}

/** The context of an entry's texts. */
interface EntryContext {
  readonly owners: Succession;
  /** The container's name in messages: "" if the report does not name it, or if its workload has the same name. */
  readonly toldContainer: string;
  /** The image's repository, with and without its registry. */
  readonly repositories: readonly string[];
}

/** A vulnerability of a package, or why the entry cannot be read. */
function readVulnerability(
  item: JsonObject,
  { toldContainer, repositories }: EntryContext,
): Finding | Unreadable {
  const id = textAt(item, "vulnerabilityID");
  if (id === "") return missing("vulnerabilityID", "expected a vulnerabilityID");
  const found = {
    package: textAt(item, "resource"),
    installedVersion: textAt(item, "installedVersion"),
    purl: textAt(item, "packagePURL"),
    path: textAt(item, "packagePath"),
  };
  const fixedVersion = textAt(item, "fixedVersion");
  const title = textAt(item, "title");
  const target = targetOf(item);
  const file = firstText(found.path, lastingTarget(item, repositories));
  const what = [
    found.package || "an unnamed package",
    found.installedVersion,
    toldContainer === "" ? "" : `in ${toldContainer}`,
    file === "" || file === found.package ? "" : `(${file})`,
    fixedVersion === "" ? "(no fix)" : `(fixed in ${fixedVersion})`,
  ].filter(Boolean).join(" ");
  const news = withoutPrefix(title, found.package);
  return {
    severity: text(at(item, "severity")) || null,
    message: news === "" ? what : `${what}: ${news}`,
    rule: id,
    rules: [id],
    prose: ["message", "title"],
    details: withoutEmpty({
      vulnerabilityID: id,
      ...found,
      fixedVersion,
      score: number(at(item, "score")),
      title,
      primaryLink: textAt(item, "primaryLink"),
      target,
    }),
    identity: withoutEmpty({
      vulnerabilityID: id,
      ...found,
      purl: lastingPurl(found.purl),
      target: lastingTarget(item, repositories),
    }),
  };
}

/** A purl without its qualifiers: `?arch=amd64&distro=debian-12.11` changes with each point release of the base image. */
function lastingPurl(purl: string): string {
  const query = purl.indexOf("?");
  if (query < 0) return purl;
  const subpath = purl.indexOf("#", query);
  return subpath < 0 ? purl.slice(0, query) : purl.slice(0, query) + purl.slice(subpath);
}

/** The target, as far as it is hashed. */
function targetOf(item: JsonObject): string {
  return textAt(item, "target").slice(0, MAX_IDENTITY_TEXT);
}

/** `(debian 12.11)`, `(amazon 2 (Karoo))` and the like, which follow the image's name. */
const SYSTEM = /\([a-z][\w .-]{0,40} [\w.+-]{1,40}(?: \([^()]{1,40}\))?\)$/;

/**
 * The file or binary that contains the entry, for the identity. "" for packages of the system, whose target is the image's
 * name and tag: the container identifies the image already, and the tag changes.
 */
function lastingTarget(item: JsonObject, repositories: readonly string[]): string {
  const target = targetOf(item);
  if (textAt(item, "class") === "os-pkgs" || SYSTEM.test(target)) return "";
  const isImage = repositories.some((name) =>
    target.startsWith(name) && /^($|[:@ ])/.test(target.slice(name.length))
  );
  return isImage ? "" : target;
}

/** The key by which secrets of one rule in one file become one finding with a count: they differ only in line and match. */
function secretKey(item: JsonObject): string {
  return JSON.stringify([ruleOfSecret(item), targetOf(item), textAt(item, "severity")]);
}

function ruleOfSecret(item: JsonObject): string {
  return firstText(textAt(item, "ruleID"), textAt(item, "title"));
}

/**
 * Reads the `count` secrets that one rule found in one file as one finding. The match is never copied: even if it is
 * masked, it shows the text around the secret.
 */
function readSecret(
  item: JsonObject,
  { toldContainer, repositories, count }: EntryContext & { readonly count: number },
): Finding | Unreadable {
  const rule = ruleOfSecret(item);
  if (rule === "") return missing("ruleID", "expected a ruleID");
  const title = textAt(item, "title");
  const path = targetOf(item);
  return {
    severity: text(at(item, "severity")) || null,
    message: [
      title || "Secret",
      path === "" ? "" : `in ${path}`,
      toldContainer === "" ? "" : `of ${toldContainer}`,
      count === 1 ? "" : `(${count} times)`,
    ].filter(Boolean).join(" "),
    rule,
    rules: [rule],
    prose: ["message", "title", "path"],
    details: withoutEmpty({ rule, title, path, count, category: textAt(item, "category") }),
    identity: withoutEmpty({ rule, path: lastingTarget(item, repositories) }),
  };
}

/** A failed check with its messages; undefined for one that passed; or why the entry cannot be read. */
function readCheck(
  item: JsonObject,
  { owners }: Pick<EntryContext, "owners">,
): Finding | Unreadable | undefined {
  const success = at(item, "success");
  if (success === true || success === "true") return undefined;
  if (success !== undefined && success !== null && success !== false && success !== "false") {
    const reason = typeof success === "string" ? "invalid_value" : "wrong_shape";
    return { reason, field: "success", problem: `expected true or false, received ${shapeOf(success)}` };
  }
  const id = textAt(item, "checkID");
  const title = textAt(item, "title");
  const reported = texts(at(item, "messages"));
  const messages = shownOf(reported, owners);
  const check = firstText(canonicalCheckId(id), title);
  if (check === "" && messages.length === 0) {
    return missing("checkID", "expected a checkID, a title or messages");
  }
  const description = toldOf(textAt(item, "description"), owners);
  const said = messages.length > 0 ? messages.join("; ") : description;
  return {
    severity: text(at(item, "severity")) || null,
    message: said === title ? title : [title, said].filter(Boolean).join(": ") || `Check ${id} failed`,
    rule: check,
    rules: id === "" ? texts(title) : checkIds(id),
    // Messages may quote what was found, such as keys and values of a ConfigMap.
    prose: ["title", "description", "remediation", ...(messages.length === 0 ? ["message"] : [])],
    details: withoutEmpty({
      checkID: id,
      title,
      category: textAt(item, "category"),
      messages,
      description,
      remediation: toldOf(textAt(item, "remediation"), owners),
    }),
    identity: withoutEmpty({
      check,
      messages: reported.map((message) => lastingWords(message, owners)).toSorted(),
    }),
  };
}

/** The messages that are shown: those that fit into details, and one more, which marks the details as truncated. */
function shownOf(messages: readonly string[], owners: Succession): string[] {
  const shown: string[] = [];
  let room: number = LIMITS.detailsBytes;
  for (const message of messages) {
    const told = toldOf(message, owners);
    shown.push(told);
    if ((room -= told.length) < 0) break;
  }
  return shown;
}

interface CheckId {
  readonly letters: string;
  readonly number: number;
}

/** `KSV001`, `KSV-0001` and `AVD-KSV-0001` are one check in different releases of the operator. */
function parseCheckId(id: string): CheckId | undefined {
  if (id.length > 64) return undefined;
  const upper = id.trim().toUpperCase();
  const bare = upper.startsWith("AVD-") ? upper.slice("AVD-".length) : upper;
  let end = bare.length;
  while (end > 0 && isDigit(bare.charCodeAt(end - 1))) end--;
  const digits = bare.slice(end);
  const letters = bare.endsWith("-", end) ? bare.slice(0, end - 1) : bare.slice(0, end);
  const fits = digits.length >= 1 && digits.length <= 6 && letters.length >= 2 && letters.length <= 8;
  return fits && isLetters(letters) ? { letters, number: Number(digits) } : undefined;
}

function isDigit(code: number): boolean {
  return code >= 48 && code <= 57;
}

function isLetters(word: string): boolean {
  for (let index = 0; index < word.length; index++) {
    const code = word.charCodeAt(index);
    if (code < 65 || code > 90) return false;
  }
  return true;
}

/** The check's id in one spelling: `KSV-0001`; any other tool's id as it is. */
function canonicalCheckId(id: string): string {
  const parsed = parseCheckId(id);
  return parsed ? `${parsed.letters}-${String(parsed.number).padStart(4, "0")}` : id;
}

/** Every spelling a filter may use. */
function checkIds(id: string): string[] {
  const parsed = parseCheckId(id);
  if (!parsed) return [id];
  const { letters, number } = parsed;
  const digits = String(number);
  const four = digits.padStart(4, "0");
  return [
    ...new Set([
      id,
      `${letters}-${four}`,
      `AVD-${letters}-${four}`,
      `${letters}${digits.padStart(3, "0")}`,
      `${letters}${four}`,
    ]),
  ];
}
