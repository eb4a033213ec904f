/** Kubernetes objects in payloads: finds the reports in a body, and reads the resources that a payload names. */
import type { Drawn, DrawnEvent } from "../model/event.ts";
import {
  at,
  type Field,
  isObject,
  type Json,
  type JsonObject,
  list,
  number,
  shapeOf,
  textAt,
  withoutEmpty,
} from "../model/json.ts";
import { unread } from "./source.ts";
import { MAX_IDENTITY_TEXT, sha256 } from "../model/identity.ts";
import type { PayloadError } from "../model/outcome.ts";
import { LIMITS, type Resource } from "../model/observation.ts";

/** A report and its path, or an error for a value that is not a report. */
export type FoundReport =
  | { readonly report: JsonObject; readonly kind: string; readonly path: string }
  | { readonly error: PayloadError };

interface Place {
  readonly path: string;
  /** Kind of a typed list's items, which have no `kind`. */
  readonly kind: string;
  readonly depth: number;
}

/** The deepest nesting of wrappings that is read; no tool nests deeper. */
const MAX_DEPTH = 4;

/**
 * Reports in a body: a bare object, a `List` or typed `…List`, an array, a map keyed by `<plural>.<group>`,
 * a watch frame, or the `{verb, operatorObject}` of Trivy Operator's webhook. A frame or verb that says the object was
 * deleted yields none.
 */
export function reportsIn(body: Json): Iterable<FoundReport> {
  return unwrap(body, { path: "", kind: "", depth: 0 });
}

function* unwrap(body: Field, place: Place): Generator<FoundReport> {
  const { path, depth } = place;
  if (depth > MAX_DEPTH || (!Array.isArray(body) && !isObject(body))) {
    yield unread("wrong_shape", path, `expected a report, received ${shapeOf(body)}`);
    return;
  }
  if (Array.isArray(body)) {
    for (const [index, item] of body.entries()) {
      yield* unwrap(item, { ...place, path: `${path}[${index}]`, depth: depth + 1 });
    }
    return;
  }
  const inner = (key: string) => ({ ...place, path: joined(path, key), depth: depth + 1 });
  const verb = textAt(body, "verb").toLowerCase() || textAt(body, "type").toLowerCase();
  if (isObject(at(body, "operatorObject"))) {
    if (verb !== "delete") yield* unwrap(body.operatorObject, inner("operatorObject"));
  } else if (isObject(at(body, "object")) && at(body, "report") === undefined) {
    if (verb !== "deleted" && verb !== "bookmark") yield* unwrap(body.object, inner("object"));
  } else if (Array.isArray(at(body, "items"))) {
    const kind = textAt(body, "kind");
    const itemKind = kind.endsWith("List") ? kind.slice(0, -"List".length) : "";
    yield* unwrap(body.items, { ...inner("items"), kind: itemKind });
  } else if (isListMap(body)) {
    for (const [key, value] of Object.entries(body)) yield* unwrap(value, inner(key));
  } else {
    yield { report: body, kind: textAt(body, "kind") || place.kind, path };
  }
}

/** `{"vulnerabilityreports.aquasecurity.github.io": […], …}` */
function isListMap(body: JsonObject): boolean {
  const entries = Object.entries(body);
  return entries.length > 0 &&
    entries.every(([key, value]) =>
      key.includes(".") && (Array.isArray(value) || isObject(at(value, "items")))
    );
}

/** Longest identity that `alikeTwins` keeps as it is, in UTF-16 units. */
const MAX_TWIN_KEY = 1_024;

/**
 * Gives events of one identity the content of the first. A tool may list a finding several times with different texts,
 * which would otherwise replace each other in the store at every evaluation.
 */
export function* alikeTwins(drawn: Iterable<Drawn>): Generator<Drawn> {
  const first = new Map<string, Omit<DrawnEvent, "identity">>();
  for (const item of drawn) {
    if ("error" in item) {
      yield item;
      continue;
    }
    const { identity, ...content } = item.event;
    const text = JSON.stringify([content.source ?? "", content.severity, identity]);
    // The identities of all events of a payload together may be far longer than the payload: they are not kept.
    const key = text.length > MAX_TWIN_KEY ? sha256(text) : text;
    const twin = first.get(key);
    if (!twin) first.set(key, content);
    yield twin ? { event: { ...twin, identity } } : item;
  }
}

/**
 * The creation time of a report, if it is the time of its findings: only the first version of a report counts, because a
 * report that is changed in place keeps its creation time.
 */
export function creationOf(report: JsonObject): string {
  const generation = number(at(report, "metadata", "generation")) ?? 1;
  return generation === 1 ? textAt(report, "metadata", "creationTimestamp") : "";
}

/** Longest key of a path, in UTF-16 units: all that lies below it has it in its own path. */
const MAX_PATH_KEY = 128;

/** A key as a step of a path, cut. */
export function pathStep(key: string): string {
  return key.length > MAX_PATH_KEY ? `${key.slice(0, MAX_PATH_KEY)}…` : key;
}

/** `a` and `b` as `a.b`. */
export function joined(path: string, key: string): string {
  return path === "" ? pathStep(key) : `${path}.${pathStep(key)}`;
}

/**
 * Longest name, and longest text, that a report gives to several of its findings, in UTF-16 units: each finding costs the
 * length of its texts, so that a report would cost the square of its own.
 */
const MAX_SHARED_NAME = 512, MAX_SHARED_TEXT = 4_096;

/** `textAt`, cut: a name that several findings share. */
export function sharedName(value: Field, ...keys: readonly string[]): string {
  return textAt(value, ...keys).slice(0, MAX_SHARED_NAME);
}

/** A text that several findings share, cut. */
export function sharedText(text: string): string {
  return text.slice(0, MAX_SHARED_TEXT);
}

/** plural → [kind, apiVersion]; the core group's and the built-in groups' resources. */
const KINDS: ReadonlyMap<string, readonly [kind: string, apiVersion: string]> = new Map([
  ["bindings", ["Binding", "v1"]],
  ["componentstatuses", ["ComponentStatus", "v1"]],
  ["configmaps", ["ConfigMap", "v1"]],
  ["endpoints", ["Endpoints", "v1"]],
  ["events", ["Event", "v1"]],
  ["limitranges", ["LimitRange", "v1"]],
  ["namespaces", ["Namespace", "v1"]],
  ["nodes", ["Node", "v1"]],
  ["persistentvolumeclaims", ["PersistentVolumeClaim", "v1"]],
  ["persistentvolumes", ["PersistentVolume", "v1"]],
  ["pods", ["Pod", "v1"]],
  ["podtemplates", ["PodTemplate", "v1"]],
  ["replicationcontrollers", ["ReplicationController", "v1"]],
  ["resourcequotas", ["ResourceQuota", "v1"]],
  ["secrets", ["Secret", "v1"]],
  ["serviceaccounts", ["ServiceAccount", "v1"]],
  ["services", ["Service", "v1"]],
  ["mutatingwebhookconfigurations", ["MutatingWebhookConfiguration", "admissionregistration.k8s.io/v1"]],
  ["mutatingadmissionpolicies", ["MutatingAdmissionPolicy", "admissionregistration.k8s.io/v1"]],
  ["mutatingadmissionpolicybindings", [
    "MutatingAdmissionPolicyBinding",
    "admissionregistration.k8s.io/v1",
  ]],
  ["validatingadmissionpolicies", ["ValidatingAdmissionPolicy", "admissionregistration.k8s.io/v1"]],
  ["validatingadmissionpolicybindings", [
    "ValidatingAdmissionPolicyBinding",
    "admissionregistration.k8s.io/v1",
  ]],
  ["validatingwebhookconfigurations", ["ValidatingWebhookConfiguration", "admissionregistration.k8s.io/v1"]],
  ["customresourcedefinitions", ["CustomResourceDefinition", "apiextensions.k8s.io/v1"]],
  ["apiservices", ["APIService", "apiregistration.k8s.io/v1"]],
  ["controllerrevisions", ["ControllerRevision", "apps/v1"]],
  ["daemonsets", ["DaemonSet", "apps/v1"]],
  ["deployments", ["Deployment", "apps/v1"]],
  ["replicasets", ["ReplicaSet", "apps/v1"]],
  ["statefulsets", ["StatefulSet", "apps/v1"]],
  ["selfsubjectreviews", ["SelfSubjectReview", "authentication.k8s.io/v1"]],
  ["tokenreviews", ["TokenReview", "authentication.k8s.io/v1"]],
  ["localsubjectaccessreviews", ["LocalSubjectAccessReview", "authorization.k8s.io/v1"]],
  ["selfsubjectaccessreviews", ["SelfSubjectAccessReview", "authorization.k8s.io/v1"]],
  ["selfsubjectrulesreviews", ["SelfSubjectRulesReview", "authorization.k8s.io/v1"]],
  ["subjectaccessreviews", ["SubjectAccessReview", "authorization.k8s.io/v1"]],
  ["horizontalpodautoscalers", ["HorizontalPodAutoscaler", "autoscaling/v2"]],
  ["cronjobs", ["CronJob", "batch/v1"]],
  ["jobs", ["Job", "batch/v1"]],
  ["certificatesigningrequests", ["CertificateSigningRequest", "certificates.k8s.io/v1"]],
  ["leases", ["Lease", "coordination.k8s.io/v1"]],
  ["endpointslices", ["EndpointSlice", "discovery.k8s.io/v1"]],
  ["flowschemas", ["FlowSchema", "flowcontrol.apiserver.k8s.io/v1"]],
  ["prioritylevelconfigurations", ["PriorityLevelConfiguration", "flowcontrol.apiserver.k8s.io/v1"]],
  ["ingressclasses", ["IngressClass", "networking.k8s.io/v1"]],
  ["ingresses", ["Ingress", "networking.k8s.io/v1"]],
  // No apiVersion: Cluster API has a namespaced kind of that name too.
  ["ipaddresses", ["IPAddress", ""]],
  ["networkpolicies", ["NetworkPolicy", "networking.k8s.io/v1"]],
  ["servicecidrs", ["ServiceCIDR", "networking.k8s.io/v1"]],
  ["runtimeclasses", ["RuntimeClass", "node.k8s.io/v1"]],
  ["poddisruptionbudgets", ["PodDisruptionBudget", "policy/v1"]],
  ["podsecuritypolicies", ["PodSecurityPolicy", "policy/v1beta1"]],
  ["clusterrolebindings", ["ClusterRoleBinding", "rbac.authorization.k8s.io/v1"]],
  ["clusterroles", ["ClusterRole", "rbac.authorization.k8s.io/v1"]],
  ["rolebindings", ["RoleBinding", "rbac.authorization.k8s.io/v1"]],
  ["roles", ["Role", "rbac.authorization.k8s.io/v1"]],
  ["deviceclasses", ["DeviceClass", "resource.k8s.io/v1"]],
  ["resourceclaims", ["ResourceClaim", "resource.k8s.io/v1"]],
  ["resourceclaimtemplates", ["ResourceClaimTemplate", "resource.k8s.io/v1"]],
  ["resourceslices", ["ResourceSlice", "resource.k8s.io/v1"]],
  ["priorityclasses", ["PriorityClass", "scheduling.k8s.io/v1"]],
  ["csidrivers", ["CSIDriver", "storage.k8s.io/v1"]],
  ["csinodes", ["CSINode", "storage.k8s.io/v1"]],
  ["csistoragecapacities", ["CSIStorageCapacity", "storage.k8s.io/v1"]],
  ["storageclasses", ["StorageClass", "storage.k8s.io/v1"]],
  ["volumeattributesclasses", ["VolumeAttributesClass", "storage.k8s.io/v1"]],
  ["volumeattachments", ["VolumeAttachment", "storage.k8s.io/v1"]],
]);

const API_VERSIONS: ReadonlyMap<string, string> = new Map(KINDS.values());

/** The built-in `apiVersion` of a kind, "" for a kind that is not built in. */
export function apiVersionOf(kind: string): string {
  return API_VERSIONS.get(kind) ?? "";
}

/** The parts by which a payload names a resource; "" is the same as absent. */
export interface Named {
  readonly plural: string;
  readonly name?: string;
  readonly namespace?: string;
  /** The payload's own group and version; without them a built-in plural's are used. */
  readonly apiVersion?: string;
}

/** The resource a plural names. An unknown plural becomes its singular, capitalised: filters compare kinds in any case. */
export function resourceOf(named: Named): Resource {
  const known = KINDS.get(named.plural.toLowerCase());
  const apiVersion = named.apiVersion || known?.[1];
  return {
    ...(apiVersion ? { apiVersion } : {}),
    kind: known?.[0] ?? capitalised(singular(named.plural)),
    ...(named.name ? { name: named.name } : {}),
    ...(named.namespace ? { namespace: named.namespace } : {}),
  };
}

function singular(plural: string): string {
  if (plural.endsWith("ies")) return `${plural.slice(0, -3)}y`;
  const sibilant = ["sses", "xes", "ches", "shes"].some((end) => plural.endsWith(end));
  if (sibilant) return plural.slice(0, -2);
  return plural.endsWith("s") && !plural.endsWith("ss") ? plural.slice(0, -1) : plural;
}

function capitalised(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}

const BY_LOWER_CASE: ReadonlyMap<string, readonly [kind: string, apiVersion: string]> = new Map(
  [...KINDS.values()].map((entry) => [entry[0].toLowerCase(), entry]),
);

/** A built-in kind as Kubernetes spells it, with its `apiVersion`; any other kind unchanged. */
export function kindInAnyCase(word: string): { readonly kind: string; readonly apiVersion: string } {
  const [kind = word, apiVersion = ""] = BY_LOWER_CASE.get(word.toLowerCase()) ?? [];
  return { kind, apiVersion };
}

/** The fields of a resource in a report; "" if absent. */
export interface SubjectFields {
  readonly apiVersion?: string;
  readonly kind: string;
  readonly name: string;
  readonly namespace: string;
}

/** A resource of the known fields, cut; the apiVersion of a built-in kind is added. */
export function subjectOf(fields: SubjectFields): Resource {
  const kind = sharedName(fields.kind),
    name = sharedName(fields.name),
    namespace = sharedName(fields.namespace);
  const version = sharedName(fields.apiVersion) || apiVersionOf(kind);
  return {
    ...(version ? { apiVersion: version } : {}),
    ...(kind ? { kind } : {}),
    ...(name ? { name } : {}),
    ...(namespace ? { namespace } : {}),
  };
}

/** The controlling owner of a report, else its first. */
export function ownerOf(report: Field): Field {
  const owners = list(at(report, "metadata", "ownerReferences"));
  return owners.find((owner) => at(owner, "controller") === true) ?? owners[0];
}

/** The identity of a resource: kind, namespace and name, and the group if it is not built in; without a version. */
export function resourceIdentity(resource: Resource): JsonObject {
  return withoutEmpty({
    group: customGroup(resource),
    kind: resource.kind,
    namespace: resource.namespace,
    name: resource.name,
  });
}

/** The group of a kind that is not built in, or shares its name with one that is (Knative's Service). */
function customGroup({ apiVersion = "", kind = "" }: Resource): string {
  const [group = "", version] = apiVersion.split("/", 2);
  if (version === undefined || !group.includes(".") || group.endsWith(".k8s.io")) return "";
  return apiVersionOf(kind).startsWith(`${group}/`) ? "" : group;
}

/** The first label or annotation of these names that is not "". */
export function wordAt(words: Field, names: readonly string[]): string {
  for (const name of names) {
    const word = textAt(words, name);
    if (word !== "") return word;
  }
  return "";
}

/** A reported resource (such as a ReplicaSet) and its lasting owner, which is stored in its place. */
export interface Succession {
  readonly from: Resource;
  readonly to: Resource;
}

/** `details.reportedOwner`: the resource that the tool named, if its owner is stored in its place. */
export function reportedOwner({ from, to }: Succession): JsonObject | undefined {
  return from === to ? undefined : { kind: from.kind ?? "", name: from.name ?? "" };
}

/** A tool's text with the owner's name in place of the generated one, for the identity. Part of identity version 1. */
export function lastingWords(text: string, { from, to }: Succession): string {
  return from === to || !from.name
    ? text
    : text.slice(0, 2 * MAX_IDENTITY_TEXT).replaceAll(from.name, () => to.name ?? "");
}

/**
 * A tool's text with the owner in place of the reported resource, in every known form of its name (`ReplicaSet 'x'`,
 * `replicaset "x"`, `replicasets/x`). Unchanged if the text also has the name in an unknown form, so that no text names
 * both resources. Leaves out what lies beyond 128 Ki characters: it is neither shown nor hashed.
 */
export function toldOf(said: string, owners: Succession): string {
  const { from, to } = owners;
  const { kind = "", name = "" } = from;
  if (from === to || name === "" || name.length > LIMITS.name) return said;
  const text = said.slice(0, 2 * MAX_IDENTITY_TEXT);
  if (!text.includes(name)) return text;
  const told = text.replace(kindAndName(owners), (_, word: string, plural: string, between: string) => {
    return `${inCaseOf(word, to.kind ?? "")}${plural}${between}${to.name}`;
  });
  if (!told.includes(name)) return told;
  return namesKind(told, kind) ? text : told.replaceAll(name, () => to.name ?? "");
}

function namesKind(text: string, kind: string): boolean {
  return new RegExp(`(?<![a-zA-Z])${escaped(kind)}`, "i").test(text);
}

function escaped(word: string): string {
  return word.replace(/[^a-zA-Z0-9-]/g, "\\$&");
}

const kindsAndNames = new WeakMap<Succession, RegExp>();

/** A kind, in any case and number, then a name, at most a few signs, a group or a namespace between them. */
function kindAndName(owners: Succession): RegExp {
  const known = kindsAndNames.get(owners);
  if (known) return known;
  const { kind = "", name = "" } = owners.from;
  const between = "(?:\\.apps|\\.batch)?[^a-zA-Z0-9]{1,4}(?:[a-z0-9-]{1,63}/)?";
  const end = "(?![a-zA-Z0-9]|-[a-zA-Z0-9])";
  const made = new RegExp(`(?<![a-zA-Z0-9])(${escaped(kind)})(s?)(${between})${escaped(name)}${end}`, "gi");
  kindsAndNames.set(owners, made);
  return made;
}

/** `deployment` where the tool writes `replicaset`, `DEPLOYMENT` where it writes `REPLICASET`. */
function inCaseOf(word: string, kind: string): string {
  if (word === word.toLowerCase()) return kind.toLowerCase();
  return word === word.toUpperCase() ? kind.toUpperCase() : kind;
}

/** The title `openssl: a title` of the package openssl without its first word. */
export function withoutPrefix(title: string, word: string): string {
  return word !== "" && title.startsWith(`${word}: `) ? title.slice(word.length + 2) : title;
}

/** Uuids, addresses in memory, digests and other hexadecimal ids. */
const IDS = /\b(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|0x[0-9a-f]+|(?=[a-f]*\d)[0-9a-f]{12,})\b/gi;
const WORD = /[\w.-]+/g;
/** A word that is a number, version, date, amount or duration; not a name that holds a digit, such as `worker-1`. */
const NUMBER =
  /^[.-]*(?:(?:v(?=\d+\.))?\d+(?:[.-]\d+)*(?:t\d\d|z|[ap]m|b|[kmgtpe]i?b?)?|(?:\d+(?:\.\d+)?(?:[num]?s|[mhd]))+)[.-]*$/i;
/** Times and addresses, whose parts are numbers by now. */
const NUMBERS = /\b0(?:[,:]0\b)+/g;

/**
 * A tool's message without the times, ids and numbers that stand alone in it: they differ each time. Part of identity
 * version 1, as far as texts are hashed: a message of 16 MiB of numbers took 400 MiB.
 */
export function lastingMessage(message: string): string {
  const hashed = message.slice(0, 2 * MAX_IDENTITY_TEXT);
  return hashed.replace(IDS, "0").replace(WORD, (word) => NUMBER.test(word) ? "0" : word)
    .replace(NUMBERS, "0");
}
