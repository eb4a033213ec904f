/** Falco's output fields: which are shown, and which vary between repeats of one act. */
import { isObject, type Json, type JsonObject } from "../../model/json.ts";
import { at, type Field, text } from "../read.ts";

/** Fields copied into `details`. Never environment variables, arguments of system calls or mounts: they carry secrets. */
const SHOWN: ReadonlySet<string> = new Set([
  "container.id",
  "container.name",
  "container.image",
  "container.image.repository",
  "container.image.tag",
  "container.image.digest",
  "container.privileged",
  "proc.name",
  "proc.cmdline",
  "proc.exe",
  "proc.exepath",
  "proc.pname",
  "proc.pcmdline",
  "proc.pexepath",
  "proc.sname",
  "proc.cwd",
  "proc.tty",
  "user.name",
  "user.uid",
  "user.loginname",
  "user.loginuid",
  "group.name",
  "group.gid",
  "fd.name",
  "fd.type",
  "fd.typechar",
  "fd.l4proto",
  "fd.directory",
  "fd.filename",
  "fd.cip",
  "fd.cport",
  "fd.sip",
  "fd.sport",
  "fd.lip",
  "fd.lport",
  "fd.rip",
  "fd.rport",
  "fd.sip.name",
  "evt.type",
  "evt.res",
  "ka.user.name",
  "ka.impuser.name",
  "ka.verb",
  "ka.uri",
  "ka.uri.param[command]",
  "ka.target.resource",
  "ka.target.subresource",
  "ka.response.code",
  "ka.response.reason",
  "ka.auth.decision",
  "ka.useragent",
  "gcp.user",
  "gcp.callerIP",
  "gcp.projectId",
  "gcp.methodName",
  "gcp.serviceName",
  "gcp.storage.bucket",
  "ct.user",
  "ct.srcip",
  "ct.region",
  "ct.name",
  "ct.src",
  "ct.error",
  "evt.hostname",
  "evt.source",
  "falco.version",
  "falco.evts_rate_sec",
  "falco.num_evts",
  "scap.engine_name",
  "scap.n_drops",
  "scap.n_drops_perc",
  "n_drops",
  "n_evts",
]);

/** Process, session and thread numbers, after `proc.` or `thread.`; `[n]` is an ancestor's. */
const NUMBERS: ReadonlySet<string> = new Set(
  ["pid", "ppid", "vpid", "pvpid", "apid", "tid", "vtid", "sid", "spid", "pgid", "vpgid", "ppgid"],
);

/** Fields that differ between repeats of the same act, beside times, numbers and ports. */
const VOLATILE: ReadonlySet<string> = new Set([
  "evt.num",
  "evt.cpu",
  "evt.rawtime",
  "evt.latency",
  "evt.deltatime",
  "evt.reltime",
  "evt.outputtime",
  "jevt.rawtime",
  "ka.auditid",
  "ct.id",
  "ct.time",
  "fd.num",
  "fd.uid", // thread and descriptor
  "proc.loginshellid",
  "thread.nametid",
  "container.start_ts",
  "container.duration",
  // falcosidekick's copy of the event's own hostname
  "hostname",
]);

/** Families of fields are short words; longer paths than this are no fields of Falco's. */
const MAX_PREFIX = 64;

/** Above this a port is taken for one the client's kernel chose, where nothing else tells the sides apart. */
const FIRST_EPHEMERAL_PORT = 32_768;

/** The value of an output field: the literal dotted key first, then the path; Falco's `<NA>` counts as nothing. */
export function field(fields: JsonObject, key: string): Field {
  const literal = Object.hasOwn(fields, key) ? fields[key] : undefined;
  const value = literal === undefined ? nested(fields, key) : literal;
  return value === "<NA>" || value === null ? undefined : value;
}

function nested(fields: JsonObject, key: string): Field {
  const dot = key.indexOf(".");
  return dot > 0 && Object.hasOwn(fields, key.slice(0, dot)) ? at(fields, ...key.split(".")) : undefined;
}

/** The fields that `details` shows. */
export function shownFields(fields: JsonObject): JsonObject {
  const shown: JsonObject = {};
  for (const [key, value] of Object.entries(fields)) {
    if (isObject(value)) showNested(fields, key, shown);
    else if (SHOWN.has(key) || key.startsWith("proc.aname[")) show(shown, key, value);
  }
  return shown;
}

function showNested(fields: JsonObject, family: string, shown: JsonObject): void {
  for (const key of SHOWN) {
    if (key.startsWith(`${family}.`) && !Object.hasOwn(fields, key)) show(shown, key, field(fields, key));
  }
}

function show(shown: JsonObject, key: string, value: Field): void {
  if (typeof value === "number" || typeof value === "boolean") shown[key] = value;
  else if (typeof value === "string" && value !== "" && value !== "<NA>") shown[key] = value;
}

/** The fields a repeat has in common with the first: what identifies the act. */
export function lastingFields(fields: JsonObject): JsonObject {
  const clientPorts = clientPortKeys(fields);
  const lasting: JsonObject = {};
  for (const [key, value] of leaves(fields)) {
    if (value === null || value === "<NA>" || isVolatile(key) || clientPorts.has(key)) continue;
    const isTuple = key === "fd.name" || key === "fd.nameraw" || key.startsWith("evt.arg");
    lasting[key] = isTuple && typeof value === "string" ? withoutClientPort(value) : value;
  }
  return lasting;
}

/** Fields under their dotted names, whichever way they are written: `{evt: {time: 1}}` varies as `{"evt.time": 1}` does. */
function* leaves(fields: JsonObject, prefix = ""): Generator<[key: string, value: Json]> {
  for (const [key, value] of Object.entries(fields)) {
    if (key === "__proto__") continue;
    const name = prefix + key;
    if (isObject(value) && prefix.length < MAX_PREFIX) yield* leaves(value, `${name}.`);
    else yield [name, value];
  }
}

function isVolatile(key: string): boolean {
  if (VOLATILE.has(key)) return true;
  if (key.startsWith("evt.") || key.startsWith("jevt.")) return key.includes("time");
  if (!key.startsWith("proc.") && !key.startsWith("thread.")) return false;
  const [, part = "", ...rest] = key.split(".");
  const name = part.split("[", 1)[0] ?? "";
  if (NUMBERS.has(name)) return rest.length === 0 || rest[0] === "ts" || rest[0] === "duration";
  return key.includes("duration");
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
