/** Falco's `http_output`: one alert a request, or an array of them. */
import type { Drawn, DrawnEvent } from "../../model/event.ts";
import {
  at,
  type Field,
  firstText,
  isObject,
  type Json,
  type JsonObject,
  number,
  shapeOf,
  text,
  texts,
  withoutEmpty,
} from "../../model/json.ts";
import { MAX_IDENTITY_TEXT, MAX_IDENTITY_TEXTS } from "../../model/identity.ts";
import type { Resource } from "../../model/observation.ts";
import { type Source, unread } from "../source.ts";
import { lastingMessage, resourceOf, subjectOf } from "../objects.ts";
import { cleanText, fitsJson, jsonBytes } from "../../text/clean.ts";
import { duration } from "../../text/setting.ts";

const PLAIN_TEXT_HINT = "set json_output: true in falco.yaml";

/** Falco retries after a time-out, but never after an error status. So the answer is delayed until the event is stored. */
const ACK_TIMEOUT = duration(
  "FALCO_ACK_TIMEOUT",
  "60s",
  "The same as WEBHOOK_ACK_TIMEOUT for Falco, which never repeats a refused event",
);
const IDENTITY = ["rule", "priority", "resource", "fields", "output", "hostname"];

/** Runtime alerts of Falco. */
export const falco: Source = {
  name: "falco",
  kind: "occurrence",
  summary: "Falco alerts on system calls, audit events and plugins, pushed by its http_output",
  eventTypes: {
    "runtime-threat": { category: "security", identity: IDENTITY },
    "falco-internal": { category: "operations", identity: IDENTITY },
  },
  settings: [ACK_TIMEOUT],
  volatile: [
    "`time`; `output` and `hostname` where output fields are there, else times, ids and numbers that stand alone in `output`",
    "`evt.*time*`, `evt.num`, `evt.cpu`, `evt.latency`",
    "the times of a plugin's record (`jevt.value[/stageTimestamp]`, `okta.published`)",
    "kernel addresses of sockets",
    "numbers of processes, sessions, threads and descriptors, also in the arguments of a system call",
    "durations, counters and memory of a process",
    "`container.start_ts`, `container.duration`",
    "client ports, also inside `fd.name`",
    "numbers of a plugin's record (`uuid`, `request_id`, `ka.auditid`)",
  ],
  openDetails: true,
  feeds: [{
    type: "post",
    path: "/falco/webhook",
    waiting: 600,
    ackTimeout: ACK_TIMEOUT,
    unreadableHint: PLAIN_TEXT_HINT,
  }],
  *draw({ body, path }): Iterable<Drawn> {
    // A posted array comes element by element, an element is not split again. A ConfigMap may hold an array.
    if (!Array.isArray(body) || path !== undefined) {
      yield drawAlert(body, "");
      return;
    }
    for (const [index, item] of body.entries()) yield drawAlert(item, `[${index}]`);
  },
};

function drawAlert(body: Json, path: string): Drawn {
  if (typeof body === "string") {
    return unread(
      "wrong_shape",
      path,
      `expected a Falco alert as JSON, received plain text: ${PLAIN_TEXT_HINT}`,
    );
  }
  if (!isObject(body)) {
    return unread("wrong_shape", path, `expected a Falco alert, received ${shapeOf(body)}`);
  }
  const alert = readAlert(body);
  if (alert.rule === "") {
    return unread("missing_field", path === "" ? "rule" : `${path}.rule`, "expected the name of a rule");
  }
  return { event: toEvent(alert) };
}

/** An alert; absent fields are empty. */
interface Alert {
  readonly rule: string;
  /** As the tool writes it; "" if absent. */
  readonly priority: string;
  readonly source: string;
  readonly hostname: string;
  readonly output: string;
  /** The sentence of `output` alone, in Falco's releases that write it. */
  readonly message: string;
  readonly time: string;
  readonly tags: readonly string[];
  readonly fields: JsonObject;
}

function readAlert(body: JsonObject): Alert {
  const fields = either(body, "output_fields") ?? either(body, "outputFields");
  return {
    rule: text(either(body, "rule")),
    priority: text(either(body, "priority")),
    source: text(either(body, "source")),
    hostname: text(either(body, "hostname")),
    output: text(either(body, "output")),
    message: text(either(body, "message")),
    time: text(either(body, "time")),
    tags: texts(either(body, "tags")),
    fields: isObject(fields) ? fields : {},
  };
}

/** A field by its name, or as Go spells it without a JSON tag: `Rule`. */
function either(body: JsonObject, name: string): Field {
  return at(body, name) ?? at(body, name.charAt(0).toUpperCase() + name.slice(1));
}

function toEvent(alert: Alert): DrawnEvent {
  const internal = isInternal(alert);
  const resource = internal ? undefined : affected(alert);
  const detectedAt = alert.time || eventTimeMs(alert.fields);
  const own = ownDetails(alert);
  const sentence = firstText(sentenceOf(alert), alert.message, alert.rule);
  return {
    category: internal ? "operations" : "security",
    severity: alert.priority || null,
    eventType: internal ? "falco-internal" : "runtime-threat",
    message: sentence,
    rules: [alert.rule],
    ...(resource ? { resource } : {}),
    details: { ...own, ...shownFields(alert.fields, own) },
    // An output field has another name than these, and may hold a command line.
    prose: Object.keys(own),
    ...(detectedAt ? { detectedAt } : {}),
    identity: {
      rule: alert.rule,
      priority: priorityWord(alert.priority),
      resource: resource ? withoutEmpty(resource) : {},
      fields: lastingFields(alert.fields),
      // With `json_include_output_fields_property: false` only the sentence tells acts apart.
      ...(hasFields(alert) ? {} : { output: lastingMessage(sentence), hostname: alert.hostname }),
    },
  };
}

function hasFields({ fields }: Alert): boolean {
  return Object.keys(fields).length > 0;
}

function isInternal(alert: Alert): boolean {
  return alert.source === "internal" || alert.rule.toLowerCase().startsWith("falco internal:");
}

function affected(alert: Alert): Resource | undefined {
  const { fields, source, hostname } = alert;
  const keys = Object.keys(fields);
  if (
    source === "k8s_audit" || (source === "" && keys.some((key) => key === "ka" || key.startsWith("ka.")))
  ) {
    return auditTarget(fields);
  }
  const pod = firstText(text(field(fields, "k8s.pod.name")), text(field(fields, "k8smeta.pod.name")));
  const namespace = firstText(text(field(fields, "k8s.ns.name")), text(field(fields, "k8smeta.ns.name")));
  if (pod !== "") {
    return { apiVersion: "v1", kind: "Pod", name: pod, ...(namespace !== "" && { namespace }) };
  }
  if (namespace !== "") return namespaceOf(namespace);
  // Without any field it is unknown whether the call is a container's.
  const onHost = hostname !== "" && isSyscall(source) && hasFields(alert) && !isInContainer(fields);
  return onHost ? { apiVersion: "v1", kind: "Node", name: hostname } : undefined;
}

/** The target of an audit event. Rules on created Pods have the name only from the answer, and some rules lack the kind. */
function auditTarget(fields: JsonObject): Resource | undefined {
  const readsPod = Object.keys(fields).some((key) => key.startsWith("ka.req.pod."));
  const plural = text(field(fields, "ka.target.resource")) || (readsPod ? "pods" : "");
  const name = firstText(text(field(fields, "ka.target.name")), text(field(fields, "ka.resp.name")));
  const namespace = text(field(fields, "ka.target.namespace"));
  if (name === "" && namespace !== "" && (plural === "" || plural === "pods")) return namespaceOf(namespace);
  if (plural === "namespaces" && name !== "") return namespaceOf(name);
  if (plural !== "") return resourceOf({ plural, name, namespace });
  return name === "" ? undefined : subjectOf({ kind: "", name, namespace });
}

/** The Namespace, with its own name as namespace, so that its users see the Observation and filters match it. */
function namespaceOf(name: string): Resource {
  return { apiVersion: "v1", kind: "Namespace", name, namespace: name };
}

function isInContainer(fields: JsonObject): boolean {
  const container = firstText(text(field(fields, "container.id")), text(field(fields, "container.name")));
  return container !== "" && container !== "host";
}

/** Falco before 0.31 had only system calls and no `source`. */
function isSyscall(source: string): boolean {
  return source === "syscall" || source === "syscalls" || source === "";
}

/** The details that are fields of the alert itself: names and words of rules. */
function ownDetails(alert: Alert): JsonObject {
  return withoutEmpty({
    rule: alert.rule,
    priority: alert.priority,
    source: alert.source,
    hostname: alert.hostname,
    tags: [...alert.tags],
    mitreTactics: alert.tags.map(tacticOf).filter((tactic) => tactic !== ""),
    mitreTechniques: alert.tags.map(techniqueOf).filter((technique) => technique !== ""),
  });
}

/** `mitre_credential_access` → `credential_access`; `TA0005-defense-evasion` → `TA0005`. */
function tacticOf(tag: string): string {
  if (tag.startsWith("mitre_")) return tag.slice("mitre_".length);
  const id = tag.split("-", 1)[0] ?? "";
  return id.startsWith("TA") && isDigits(id.slice(2), 4) ? id : "";
}

/** `T1548.001` → itself; `T1562-impair-defenses` → `T1562`. */
function techniqueOf(tag: string): string {
  const id = tag.split("-", 1)[0] ?? "";
  const [technique = "", part, ...more] = id.split(".", 3);
  const named = technique.startsWith("T") && isDigits(technique.slice(1), 4);
  return named && more.length === 0 && (part === undefined || isDigits(part, 3)) ? id : "";
}

function isDigits(word: string, length: number): boolean {
  return word.length === length && isMadeOf(word, "0123456789");
}

function isMadeOf(word: string, alphabet: string): boolean {
  for (const char of word) if (!alphabet.includes(char)) return false;
  return true;
}

function priorityWord(priority: string): string {
  const word = priority.trim().toLowerCase();
  return word === "info" ? "informational" : word;
}

/** `output` without the time and priority at its beginning: both are separate fields, and the time differs each time. */
function sentenceOf({ output, priority }: Alert): string {
  let rest = output.trim();
  const colon = rest.indexOf(": ");
  if (colon > 0 && isTimePrefix(rest.slice(0, colon))) rest = rest.slice(colon + 2).trimStart();
  if (priority !== "" && rest.startsWith(`${priority} `)) rest = rest.slice(priority.length + 1).trimStart();
  return rest;
}

/** `09:15:40.698757000` or `2026-11-01T00:00:01.686701548+0000`. */
function isTimePrefix(prefix: string): boolean {
  return prefix.length >= 8 && prefix.length <= 40 && prefix.includes(":") &&
    isMadeOf(prefix, "0123456789T:.+-Z");
}

/** `evt.time` in milliseconds. It counts nanoseconds; a JSON number loses only the last of its digits. */
function eventTimeMs(fields: JsonObject): number | undefined {
  const nanoseconds = number(field(fields, "evt.time")) ?? number(field(fields, "evt.time.iso8601"));
  return nanoseconds === undefined ? undefined : Math.floor(nanoseconds / 1e6);
}

/** Process, session and thread numbers, after `proc.` or `thread.`; `[n]` is an ancestor's. */
const NUMBERS: ReadonlySet<string> = new Set(
  ["pid", "ppid", "vpid", "pvpid", "apid", "tid", "vtid", "sid", "spid", "pgid", "vpgid", "ppgid"],
);

/** Fields that differ between repeats of the same act, beside times, numbers and ports. */
const VOLATILE: ReadonlySet<string> = new Set([
  "evt.num",
  "evt.cpu",
  "ct.id",
  "fd.num",
  "fd.uid", // thread and descriptor
  "proc.loginshellid",
  "thread.nametid",
  "container.start_ts",
  "container.duration",
  // falcosidekick's copy of the event's own hostname
  "hostname",
]);

/** Measures of a process that grow while it runs, and counters of the machine. */
const MEASURES = /^(?:proc|thread)\.(?:fdopencount|vm\w+|cpu\w*|pf\w+|\w*exectime)$/;
/** Last words of plugins' fields that hold the record's id: `okta.uuid`, `jevt.value[/requestID]`. */
const RECORD_ID = /(?:^|[._/])(?:uuid|insert_?id|request_?id|event_?id|audit_?id|trace_?id)\]?$/i;
/** Times and latencies of an event. */
const EVENT_TIME = /^j?evt\.(?!value\[).*time|^evt\.(?:wait_)?latency/;
/** Last words of fields with the time of a plugin's record; not `runtime`, nor an executable's `mtime`. */
const RECORD_TIME = /(?:timestamp|published|(?<!run|\b[acm])time)\]?$/i;
/** Kernel addresses before the path of a Unix socket: `ffff9a1b2c3d4e5f->ffff9a1b2c3d0000 /run/x.sock`. */
const KERNEL_ADDRESSES = /\b(?:0|[0-9a-f]{8,16})->(?:0|[0-9a-f]{8,16})(?= |$)/gi;
/** Numbers of descriptors, processes and successful results in the arguments of a system call. */
const ARGUMENT_NUMBERS = /\b((?:dir|old|new)?fd|[a-z]*[pt]id|pgid|sid|res)=\d+/g;
const NUMBERED_ARGUMENT = /^evt\.(?:raw)?arg\.(?:(?:dir|old|new)?fd|[a-z]*[pt]id|pgid|sid|res)$/;
const LEADING_NUMBER = /^\d+/;
const CLIENT_PORT = /:\d{1,5}->/g;

/** Longest text that is replaced in arguments: two kernel addresses, with a character on either side. */
const LONGEST_REPLACED = 36;

/** Longest name of an object of fields, which stands before the name of each of them: names of Falco's fields are shorter. */
const MAX_PREFIX = 64;
/** Most output fields that are read: rules have some dozens. */
const MAX_FIELDS = 1_000;

/** From here on a port counts as the client's, if nothing else distinguishes the two sides. */
const FIRST_EPHEMERAL_PORT = 32_768;

/** The value of an output field: by the literal dotted key, else by the path; Falco's `<NA>` counts as absent. */
function field(fields: JsonObject, key: string): Field {
  const literal = Object.hasOwn(fields, key) ? fields[key] : undefined;
  const value = literal === undefined ? nested(fields, key) : literal;
  return value === "<NA>" || value === null ? undefined : value;
}

function nested(fields: JsonObject, key: string): Field {
  const dot = key.indexOf(".");
  return dot > 0 && Object.hasOwn(fields, key.slice(0, dot)) ? at(fields, ...key.split(".")) : undefined;
}

/** Fields with a path or an object, which an alert is mostly about: they are kept first if not all fields fit. */
const POINTS =
  /^(?:fd\.(?:name|nameraw|directory|filename)|fs\.path\.|evt\.arg|ka\.(?:target|req|resp)\.|jevt\.value|proc\.(?:cmdline|exepath|pexepath)$)/;
/** Most bytes of the output fields: details hold 8 KiB, a part of which other fields need. */
const FIELDS_BYTES = 6_144;
/** A value longer than this is cut if not all fields fit. */
const LONG_VALUE = 1_024;
/** Most long values that are cleaned if not all fields fit: a masked one may be short, but six whole ones fill the room. */
const MAX_LONG_VALUES = 64;

/** Every output field under its dotted name. If they do not fit, fields with paths and objects first, and long values cut. */
function shownFields(fields: JsonObject, own: JsonObject): JsonObject {
  const all: [key: string, value: Json][] = [];
  for (const [key, value] of leaves(fields)) {
    if (all.length >= MAX_FIELDS) break;
    if (value === null || value === "" || value === "<NA>" || own[key] === value) continue;
    all.push([Object.hasOwn(own, key) ? `output_fields.${key}` : key, value]);
  }
  const whole = Object.fromEntries(all);
  if (fitsJson(whole, FIELDS_BYTES)) return whole;
  const shown: JsonObject = {};
  let room = FIELDS_BYTES;
  let longValues = 0;
  for (const isPoint of [true, false]) {
    for (const [key, value] of all) {
      if (POINTS.test(key) !== isPoint) continue;
      const isLong = typeof value === "string" && value.length > LONG_VALUE;
      if (isLong && ++longValues > MAX_LONG_VALUES) continue;
      const kept = isLong ? `${cleanText(value, LONG_VALUE - 1)}…` : value;
      if (!fitsJson(kept, room)) continue;
      const bytes = jsonBytes(key) + jsonBytes(kept) + 2;
      if (bytes > room) continue;
      room -= bytes;
      shown[key] = kept;
    }
  }
  return { ...shown, truncated: true };
}

/** The fields that are equal when the same act is reported again. They are part of the finding's identity. */
function lastingFields(fields: JsonObject): JsonObject {
  const clientPorts = clientPortKeys(fields);
  const lasting: JsonObject = {};
  let count = 0, characters = 0;
  for (const [key, value] of leaves(fields)) {
    if (++count > MAX_FIELDS) break;
    if (value === null || value === "<NA>" || isVolatileField(key) || clientPorts.has(key)) continue;
    // The identity hashes no text beyond this many characters.
    if (typeof value === "string" && characters > MAX_IDENTITY_TEXTS) continue;
    const kept = withoutNumbers(key, value);
    if (typeof kept === "string") characters += Math.min(kept.length, MAX_IDENTITY_TEXT);
    lasting[key] = kept;
  }
  return lasting;
}

/** Each field with its dotted name, for both notations: `{evt: {time: 1}}` and `{"evt.time": 1}` give the same field. */
function* leaves(fields: JsonObject, prefix = ""): Generator<[key: string, value: Json]> {
  for (const [key, value] of Object.entries(fields)) {
    if (key === "__proto__") continue;
    const name = prefix + key;
    if (isObject(value) && name.length < MAX_PREFIX) yield* leaves(value, `${name}.`);
    else yield [name, value];
  }
}

function isVolatileField(key: string): boolean {
  if (
    VOLATILE.has(key) || MEASURES.test(key) || RECORD_ID.test(key) || EVENT_TIME.test(key) ||
    RECORD_TIME.test(key)
  ) return true;
  if (!key.startsWith("proc.") && !key.startsWith("thread.")) return false;
  const [, part = "", ...rest] = key.split(".", 3);
  const name = part.split("[", 1)[0] ?? "";
  if (NUMBERS.has(name)) return rest.length === 0 || rest[0] === "ts" || rest[0] === "duration";
  return key.includes("duration");
}

/** The value without numbers that differ each time, such as file descriptors and a client's port. */
function withoutNumbers(key: string, value: Json): Json {
  if (NUMBERED_ARGUMENT.test(key)) return text(value).replace(LEADING_NUMBER, "");
  if (typeof value !== "string") return value;
  if (key === "fd.name" || key === "fd.nameraw") {
    return withoutClientPort(value.slice(0, 2 * MAX_IDENTITY_TEXT)).replace(KERNEL_ADDRESSES, "->");
  }
  if (!key.startsWith("evt.arg") && !key.startsWith("evt.rawarg")) return value;
  return withoutArgumentNumbers(value);
}

/** The arguments without descriptors, process numbers and ports, as far as they are hashed. */
function withoutArgumentNumbers(value: string): string {
  const replaced = (text: string) =>
    text.replace(ARGUMENT_NUMBERS, "$1=").replace(CLIENT_PORT, "->").replace(KERNEL_ADDRESSES, "->");
  for (let length = 2 * MAX_IDENTITY_TEXT; length < value.length; length *= 2) {
    const kept = replaced(value.slice(0, length));
    // Only a port or an address at the cut may be replaced in the whole text and not here.
    if (kept.length >= MAX_IDENTITY_TEXT + LONGEST_REPLACED) return kept.slice(0, MAX_IDENTITY_TEXT);
  }
  return replaced(value);
}

/** `client:port->server:port` without the client's port; any other name as it is. */
function withoutClientPort(name: string): string {
  const tuple = endpoints(name);
  return tuple ? `${tuple.clientAddress}->${tuple.server}` : name;
}

function clientPortKeys(fields: JsonObject): ReadonlySet<string> {
  const keys = new Set(["fd.cport", "fd.cproto"]);
  const local = text(field(fields, "fd.lport"));
  const remote = text(field(fields, "fd.rport"));
  const client = text(field(fields, "fd.cport")) || endpoints(text(field(fields, "fd.name")))?.clientPort ||
    "";
  if (client !== "") {
    if (local === client) keys.add("fd.lport");
    else if (remote === client) keys.add("fd.rport");
    return keys;
  }
  const server = text(field(fields, "fd.sport"));
  if (server !== "") {
    if (local !== server && remote === server) keys.add("fd.lport");
    else if (remote !== server && local === server) keys.add("fd.rport");
    return keys;
  }
  const type = text(field(fields, "evt.type"));
  if (type === "connect") keys.add("fd.lport");
  else if (type === "accept" || type === "accept4") keys.add("fd.rport");
  else if (isEphemeral(local) && !isEphemeral(remote)) keys.add("fd.lport");
  else if (isEphemeral(remote) && !isEphemeral(local)) keys.add("fd.rport");
  return keys;
}

function isEphemeral(port: string): boolean {
  return Number(port) >= FIRST_EPHEMERAL_PORT;
}

/** The sides of a socket's name. Addresses may hold colons (IPv6): the port follows the last one. */
function endpoints(name: string) {
  const arrow = name.indexOf("->");
  if (arrow < 0) return undefined;
  const client = name.slice(0, arrow);
  const server = name.slice(arrow + 2);
  const colon = client.lastIndexOf(":");
  if (colon < 0 || !isPort(client.slice(colon + 1))) return undefined;
  if (!isPort(server.slice(server.lastIndexOf(":") + 1))) return undefined;
  return { clientAddress: client.slice(0, colon), clientPort: client.slice(colon + 1), server };
}

function isPort(word: string): boolean {
  if (word.length === 0 || word.length > 5) return false;
  for (const char of word) if (char < "0" || char > "9") return false;
  return true;
}
