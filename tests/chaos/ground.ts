/** The API server of a fleet: a real one, with a separate user for each replica, or the embedded one. */
import { join } from "node:path";
import { isObject, type JsonObject } from "../../src/model/json.ts";
import { fixedConnection } from "../../src/kube/api.ts";
import { createKubeClient, type KubeClient } from "../../src/kube/client.ts";
import { type Envtest, startEnvtest } from "../support/envtest.ts";
import { ensureNamespaces } from "../support/objects.ts";
import { CRDS } from "../support/crds.ts";
import { giveOwnRules } from "../support/rights.ts";
import { type DevWorld, startDevWorld } from "../support/dev_world.ts";
import type { FleetGround } from "./fleet.ts";

/** Replicas with a separate user each, by which the audit log distinguishes their writes. */
const PLACES = 3;
/** Every write on our own group, once. */
const AUDIT_POLICY = `
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Request
  verbs: [create, update, patch, delete]
  resources: [{group: zen.kube-zen.io}]
- level: None
`;

/** A write that the API server carried out. */
export interface AuditedWrite {
  readonly place: number;
  readonly verb: string;
  readonly name: string;
  readonly subresource: string;
  /** When it came in, in ms since the epoch. */
  readonly at: number;
}

/** A real kube-apiserver and etcd. */
export class RealGround implements FleetGround, AsyncDisposable {
  readonly envtest: Envtest;
  readonly api: KubeClient;
  readonly #auditFolder: string;

  constructor(envtest: Envtest, auditFolder: string) {
    this.envtest = envtest;
    this.#auditFolder = auditFolder;
    this.api = createKubeClient(fixedConnection({
      server: envtest.url,
      caPem: envtest.caPem,
      authorization: `Bearer ${envtest.user("admin").token}`,
    }));
  }

  static async start(): Promise<RealGround> {
    const folder = await Deno.makeTempDir({ prefix: "zen-chaos-audit-" });
    await Deno.writeTextFile(join(folder, "policy.yaml"), AUDIT_POLICY);
    const users = Array.from({ length: PLACES }, (_, place) => ({ name: userOf(place) }));
    const envtest = await startEnvtest({
      users,
      extraArgs: [
        `--audit-policy-file=${join(folder, "policy.yaml")}`,
        `--audit-log-path=${join(folder, "audit.log")}`,
      ],
    });
    await envtest.applyCrds(CRDS);
    await ensureNamespaces(envtest, ["zen-system"]);
    await giveOwnRules(envtest, users.map(({ name }) => name));
    return new RealGround(envtest, folder);
  }

  get port(): number {
    return Number(new URL(this.envtest.url).port);
  }

  async kubeconfig(place: number, port: number): Promise<string> {
    const path = join(this.envtest.folder, `kubeconfig-${place}`);
    const text = this.envtest.kubeconfig({
      server: `https://127.0.0.1:${port}`,
      as: this.envtest.user(userOf(place)),
    });
    await Deno.writeTextFile(path, text, { mode: 0o600 });
    return path;
  }

  namespace(prefix: string): Promise<string> {
    return this.envtest.createNamespace(prefix);
  }

  /** Writes on our group at or after `since`. The last line may still be being written. */
  async writes(since: number): Promise<AuditedWrite[]> {
    const text = await Deno.readTextFile(join(this.#auditFolder, "audit.log"));
    const lines = text.slice(0, text.lastIndexOf("\n") + 1).split("\n").filter(Boolean);
    return lines.flatMap((line) => writeIn(JSON.parse(line))).filter(({ at }) => at >= since);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.api.close();
    await this.envtest[Symbol.asyncDispose]();
    await Deno.remove(this.#auditFolder, { recursive: true });
  }
}

function userOf(place: number): string {
  return `replica-${place}`;
}

function writeIn(event: JsonObject): AuditedWrite[] {
  const { user, objectRef, requestObject, verb, requestReceivedTimestamp } = event;
  if (!isObject(user) || !isObject(objectRef)) return [];
  // The URL of a create names nothing.
  const created = isObject(requestObject) && isObject(requestObject.metadata) ? requestObject.metadata : {};
  const place = Number(String(user.username).split("-").at(-1));
  return [{
    place,
    verb: String(verb),
    name: String(objectRef.name ?? created.name ?? ""),
    subresource: String(objectRef.subresource ?? ""),
    at: Date.parse(String(requestReceivedTimestamp)),
  }];
}

/** The embedded API server, whose HTTP answers can be made to fail. */
export class EmbeddedGround implements FleetGround, AsyncDisposable {
  readonly world: DevWorld;
  readonly #folder: string;

  constructor(world: DevWorld, folder: string) {
    this.world = world;
    this.#folder = folder;
  }

  static async start(): Promise<EmbeddedGround> {
    const folder = await Deno.makeTempDir({ prefix: "zen-chaos-" });
    return new EmbeddedGround(await startDevWorld({ namespaces: ["kube-bench"] }), folder);
  }

  get api(): KubeClient {
    return this.world.api;
  }

  get port(): number {
    return Number(new URL(this.world.server.url).port);
  }

  async kubeconfig(place: number, port: number): Promise<string> {
    const path = join(this.#folder, `kubeconfig-${place}`);
    const text = this.world.server.kubeconfig().replace(this.world.server.url, `http://127.0.0.1:${port}`);
    await Deno.writeTextFile(path, text);
    return path;
  }

  async namespace(prefix: string): Promise<string> {
    const name = `${prefix}-${crypto.randomUUID().slice(0, 8)}`;
    await this.world.namespaces([name]);
    return name;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.world[Symbol.asyncDispose]();
    await Deno.remove(this.#folder, { recursive: true });
  }
}
