/** An audit event as the request that it records: its parts, who sent it, and what it ran. */
import type { ApiRequest } from "../../model/event.ts";
import {
  at,
  type Field,
  isObject,
  type Json,
  list,
  number,
  shapeOf,
  text,
  textAt,
  texts,
} from "../../model/json.ts";

/** An audit event with its absent parts made empty. Bodies are read, never stored. */
export interface AuditRequest extends ApiRequest {
  readonly auditID: string;
  readonly stage: string;
  readonly user: string;
  readonly groups: readonly string[];
  readonly impersonates: boolean;
  /** 0 if no answer is recorded. */
  readonly code: number;
  /** The authorizer's: `allow`, `forbid`, or "". */
  readonly decision: string;
  readonly uri: string;
  readonly query: Query;
  /** The last of `sourceIPs`, at most 16, and whether there are more. */
  readonly sourceIPs: readonly string[];
  readonly hasMoreIPs: boolean;
  /** The address of the connection, the last of `sourceIPs`: the client can choose those before it. */
  readonly address: string;
  readonly receivedTimestamp: string;
  readonly stageTimestamp: string;
  readonly requestObject: Field;
  readonly responseObject: Field;
}

/** The values of the parameters of a request that are read, in their order. */
type Query = Readonly<Record<"command" | "container" | "dryRun" | "ports", readonly string[]>>;

/** A session in a container: exec, attach or portforward. */
export interface AuditSession {
  readonly container: string;
  /** One line; "" for attach and portforward. */
  readonly command: string;
  readonly ports: string;
}

const SESSIONS: ReadonlySet<string> = new Set(["exec", "attach", "portforward"]);
/** Most of `sourceIPs` that are shown: a client can send any number of them. */
const MAX_ADDRESSES = 16;
/** How the names of the parameters that are read begin: as themselves, or with an escape. */
const FIRST_CHARACTERS = "%cdp";
/** Longest such name, with each of its characters written as an escape. */
const MAX_NAME = 3 * "container".length;
/** Longest URI that is read: the API server takes no longer one, which is in a head of a MiB. */
const MAX_URI = 2 ** 20;
/** Characters of a command that are shown. */
export const MAX_COMMAND = 1_024;
/** Characters of a query's values that are decoded, far more than are shown: the rest stays as the client wrote it. */
const MAX_DECODED = 16 * MAX_COMMAND;
/** An escape, and the beginning of a character of several bytes, that a cut leaves. */
const CUT_ESCAPE = /(?:%[89a-f][0-9a-f]){0,3}(?:%[0-9a-f]?)?$/i;

/** Reads an audit event of any shape. */
export function readRequest(item: Json): AuditRequest {
  const uri = textAt(item, "requestURI").slice(0, MAX_URI);
  const mark = uri.indexOf("?");
  const addresses = list(at(item, "sourceIPs"));
  return {
    auditID: textAt(item, "auditID"),
    stage: textAt(item, "stage"),
    verb: textAt(item, "verb"),
    user: textAt(item, "user", "username"),
    groups: texts(at(item, "user", "groups")),
    impersonates: at(item, "impersonatedUser") !== undefined,
    code: number(at(item, "responseStatus", "code")) ?? 0,
    decision: text(at(item, "annotations", "authorization.k8s.io/decision")),
    group: textAt(item, "objectRef", "apiGroup"),
    resource: textAt(item, "objectRef", "resource"),
    subresource: textAt(item, "objectRef", "subresource"),
    namespace: textAt(item, "objectRef", "namespace"),
    name: textAt(item, "objectRef", "name"),
    uri,
    // The query holds commands and tokens.
    path: mark < 0 ? uri : uri.slice(0, mark),
    query: parametersIn(mark < 0 ? "" : uri.slice(mark + 1)),
    sourceIPs: addresses.slice(-MAX_ADDRESSES).map(text),
    hasMoreIPs: addresses.length > MAX_ADDRESSES,
    address: text(addresses.at(-1)),
    receivedTimestamp: textAt(item, "requestReceivedTimestamp"),
    stageTimestamp: textAt(item, "stageTimestamp"),
    requestObject: at(item, "requestObject"),
    responseObject: at(item, "responseObject"),
  };
}

/** The parameters that are read. A client can put any number of others before them. */
function parametersIn(query: string): Query {
  const values: Record<keyof Query, string[]> = { command: [], container: [], dryRun: [], ports: [] };
  const decoder: Decoder = { left: MAX_DECODED, isText: true };
  for (let start = 0; start < query.length;) {
    const next = query.indexOf("&", start);
    const end = next < 0 ? query.length : next;
    if (FIRST_CHARACTERS.includes(query.charAt(start))) {
      const equals = query.slice(start, Math.min(end, start + MAX_NAME + 1)).indexOf("=");
      const name = equals < 0 ? "" : bytesDecoded(query.slice(start, start + equals));
      if (isRead(name)) values[name].push(decoded(query.slice(start + equals + 1, end), decoder));
    }
    start = end + 1;
  }
  return values;
}

function isRead(name: string): name is keyof Query {
  return name === "command" || name === "container" || name === "dryRun" || name === "ports";
}

/** How the values of a query are decoded. */
interface Decoder {
  /** Characters that may still be decoded. */
  left: number;
  /** False after a value with bytes that are no UTF-8: from there on each byte is a character, since to throw each time takes long. */
  isText: boolean;
}

function decoded(value: string, decoder: Decoder): string {
  const start = value.slice(0, decoder.left);
  const read = start === value ? value : start.replace(CUT_ESCAPE, "");
  decoder.left -= start.length;
  const spaced = read.replaceAll("+", " ");
  if (decoder.isText) {
    try {
      return decodeURIComponent(spaced) + value.slice(read.length);
    } catch {
      decoder.isText = false;
    }
  }
  return bytesDecoded(spaced) + value.slice(read.length);
}

function bytesDecoded(text: string): string {
  return text.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

/** True for exec, attach and portforward, whatever the verb: over WebSocket it is `get`. */
export function isSession({ group, resource, subresource }: AuditRequest): boolean {
  return group === "" && resource === "pods" && SESSIONS.has(subresource);
}

/** Container, command and ports, which only the query names. `shown` is how much of the command is. */
export function sessionOf(
  request: AuditRequest,
  { shown }: { readonly shown: "full" | "program" },
): AuditSession {
  if (!isSession(request)) return { container: "", command: "", ports: "" };
  const command = request.query.command.join(" ");
  return {
    container: request.query.container[0] ?? "",
    // A client may send a whole command line as one argument.
    command: shown === "program" ? command.trimStart().split(/\s/, 1).join() : command,
    ports: request.query.ports.join(","),
  };
}

const PROGRAM = /^system:(?:serviceaccount:|node:|kube-|apiserver$)/;

/**
 * True for controllers and nodes. Members of system:masters and clients that impersonate are people, except the API
 * server's own loopback client, which is a member too.
 */
export function isProgram({ user, groups, impersonates }: AuditRequest): boolean {
  if (impersonates || !PROGRAM.test(user)) return false;
  return user === "system:apiserver" || !groups.includes("system:masters");
}

/** Why `item` is not an audit event; undefined if it is one. */
export function shapeProblem(item: Json): string | undefined {
  if (!isObject(item)) return `expected an audit event, received ${shapeOf(item)}`;
  const kind = at(item, "kind");
  if (kind !== undefined && kind !== "Event") {
    return `expected kind Event or EventList, received ${text(kind) || shapeOf(kind)}`;
  }
  const version = textAt(item, "apiVersion");
  if (version !== "" && !version.startsWith("audit.k8s.io/")) {
    return `expected apiVersion audit.k8s.io, received ${version}`;
  }
  return undefined;
}
