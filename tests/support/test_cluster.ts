/**
 * The embedded API server as tests have it: with faults to put in force, a log of its requests, and a way to what it
 * stores without asking it.
 */
import type { JsonObject } from "../../src/model/json.ts";
import { type Call, DevCluster, type DevClusterOptions, type Passage } from "../../src/devcluster/mod.ts";
import { type ApiResource, apiVersion } from "../../src/devcluster/resources.ts";
import { type Fault, Faults, isAbout } from "./faults.ts";

/** Starts one. */
export function startTestCluster(options: Omit<DevClusterOptions, "gate"> = {}): TestCluster {
  return new TestCluster(options, new Faults(), new RequestLog());
}

export class TestCluster extends DevCluster {
  constructor(
    options: Omit<DevClusterOptions, "gate">,
    readonly faults: Faults,
    readonly requests: RequestLog,
  ) {
    const gate = (call: Call, passage: Passage) => {
      requests.add(call);
      return faults.pass(call, passage);
    };
    super({ ...options, gate });
  }

  /** The latest resourceVersion. */
  get revision(): number {
    return this.cluster.revisions.revision;
  }

  /** The stored objects of a resource (`configmaps`, `observations.zen.kube-zen.io`), in order of namespace and name. */
  objects(resource: string, namespace?: string): JsonObject[] {
    const { group, kind, versions, objects } = this.#find(resource);
    const head = { apiVersion: apiVersion(group, versions[0]!.name), kind };
    const stored = objects.range(namespace === undefined ? "" : `${namespace}/`);
    return Array.from(stored, ({ body }) => ({ ...head, ...JSON.parse(body) }));
  }

  /** How many objects of a resource there are, without reading them. */
  count(resource: string): number {
    return this.#find(resource).objects.count();
  }

  /** Forgets all history: older watches and continued lists get 410. */
  compact(): void {
    for (const { objects } of this.cluster.resources.values()) objects.compact();
  }

  #find(name: string): ApiResource {
    const resource = this.cluster.resources.get(name);
    if (!resource) throw new Error(`Cannot read objects of "${name}": no such resource`);
    return resource;
  }
}

const MAX_CALLS = 100_000;

/** The requests the server has had, so that a test can say what was never asked. */
class RequestLog {
  readonly #calls: Call[] = [];
  #forgotten = 0;

  add(call: Call): void {
    if (this.#calls.length >= MAX_CALLS) this.#forgotten += this.#calls.splice(0, MAX_CALLS / 2).length;
    this.#calls.push(call);
  }

  /** All since `clear`, oldest first. */
  get calls(): readonly Call[] {
    return this.#calls;
  }

  /** How many had this verb and this in their path; throws where some are forgotten. */
  count(which: Pick<Fault, "verb" | "path">): number {
    if (this.#forgotten > 0) {
      throw new Error(`Cannot count requests: ${this.#forgotten} are forgotten, clear earlier`);
    }
    return this.#calls.filter((call) => isAbout(call, which)).length;
  }

  clear(): void {
    this.#calls.length = this.#forgotten = 0;
  }
}
