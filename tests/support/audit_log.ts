/** The API server's audit log as a file, and what in it is of interest by the contract's rules, judged without `src/`. */
import { join } from "node:path";
import { isObject, type JsonObject } from "../../src/model/json.ts";

const GROUP = "zen.kube-zen.io";
const WRITES = ["create", "update", "patch", "delete", "deletecollection"];
const RBAC = ["roles", "clusterroles", "rolebindings", "clusterrolebindings"];

/** A folder the server writes its audit log to, beside what it posts. */
export class AuditLog implements AsyncDisposable {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  static async create(): Promise<AuditLog> {
    return new AuditLog(await Deno.makeTempDir({ prefix: "zen-audit-" }));
  }

  /** For kube-apiserver. */
  get serverArguments(): string[] {
    return [`--audit-log-path=${this.#path}`, "--audit-log-mode=blocking"];
  }

  /** Everything logged up to now. The last line may still be being written. */
  async events(): Promise<JsonObject[]> {
    const text = await Deno.readTextFile(this.#path);
    const lines = text.slice(0, text.lastIndexOf("\n") + 1).split("\n").filter(Boolean);
    return lines.map((line) => JSON.parse(line)).filter(isObject);
  }

  /** The acts of interest in requests received at or after `since`. */
  async acts(ownUser: string, since: number): Promise<LoggedAct[]> {
    return (await this.events()).flatMap((event): LoggedAct[] => {
      const eventType = judged.receivedAt(event) < since ? undefined : actOf(event, ownUser);
      if (eventType === undefined) return [];
      const auditID = String(event.auditID);
      return [{ auditID, eventType, repeats: repeatsOf(event, eventType) ?? auditID }];
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.#folder, { recursive: true });
  }

  get #path(): string {
    return join(this.#folder, "audit.log");
  }
}

/** A request of interest. */
export interface LoggedAct {
  readonly auditID: string;
  readonly eventType: string;
  /** The same for acts that are counted in one Observation. */
  readonly repeats: string;
}

const PROGRAMS = ["system:serviceaccount:", "system:node:", "system:kube-", "system:apiserver"];

/** What the repeats of a program or of a refusal have in common; undefined for an act of a person. */
function repeatsOf(event: JsonObject, eventType: string): string | undefined {
  const { resource, subresource, namespace, name } = isObject(event.objectRef) ? event.objectRef : {};
  const user = judged.user(event);
  const what = [eventType, judged.group(event), resource, subresource];
  if (eventType === "access-denied") {
    const hasLogin = user !== "undefined" && user !== "" && user !== "system:anonymous";
    const who = hasLogin ? [user, event.verb, namespace] : [event.sourceIPs];
    return JSON.stringify([...who, ...what]);
  }
  const isProgram = PROGRAMS.some((prefix) => user.startsWith(prefix));
  return isProgram ? JSON.stringify([user, event.verb, namespace, name, ...what]) : undefined;
}

/** What an audit event says of itself. */
export const judged = {
  user: ({ user }: JsonObject) => isObject(user) ? String(user.username) : "",
  resource: ({ objectRef }: JsonObject) => isObject(objectRef) ? String(objectRef.resource ?? "") : "",
  group: ({ objectRef }: JsonObject) => isObject(objectRef) ? String(objectRef.apiGroup ?? "") : "",
  code: ({ responseStatus }: JsonObject) => isObject(responseStatus) ? Number(responseStatus.code) : 0,
  receivedAt: ({ requestReceivedTimestamp }: JsonObject) => Date.parse(String(requestReceivedTimestamp)),
  isWrite: ({ verb }: JsonObject) => WRITES.includes(String(verb)),
};

function actOf(event: JsonObject, ownUser: string): string | undefined {
  const { stage, verb, objectRef } = event;
  const [code, resource, group] = [judged.code(event), judged.resource(event), judged.group(event)];
  const subresource = isObject(objectRef) ? objectRef.subresource : undefined;
  const { annotations } = event;
  const isAllowed = isObject(annotations) && annotations["authorization.k8s.io/decision"] === "allow";
  // A request without a valid login has no later stage.
  if (stage !== "ResponseComplete" && !(stage === "ResponseStarted" && code === 401)) return undefined;
  const ownKind = resource === "observations" || resource === "leases" || resource === "events";
  if (judged.user(event) === ownUser && ownKind) return undefined;
  if (code === 401 || (code === 403 && !isAllowed)) return "access-denied";
  if (code >= 400) return undefined;
  const write = judged.isWrite(event);
  if (write && group === GROUP && resource === "observationfilters" && subresource === undefined) {
    return "exception-change";
  }
  if (write && group === "rbac.authorization.k8s.io" && RBAC.includes(resource)) return "rbac-change";
  if (
    verb === "create" && resource === "pods" && subresource === undefined && isPrivileged(event.requestObject)
  ) {
    return "privileged-pod-creation";
  }
  if (write && group === "" && (resource === "secrets" || resource === "configmaps")) return "secret-access";
  return verb === "delete" || verb === "deletecollection" ? "resource-deletion" : undefined;
}

function isPrivileged(pod: unknown): boolean {
  return JSON.stringify(pod ?? null).includes('"privileged":true');
}
