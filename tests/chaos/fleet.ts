/** Replicas as processes of their own, each behind a fault proxy of its own, on one API server. */
import { assertEquals } from "@std/assert";
import { type Controller, startController } from "../../scripts/support/controller.ts";
import { isObject } from "../../src/model/json.ts";
import type { KubeApi } from "../../src/kube/api.ts";
import { LEASES } from "../../src/kube/lease.ts";
import { accountsOf, closedBooks } from "../support/books.ts";
import { eventually } from "../support/eventually.ts";
import { type FaultProxy, startFaultProxy } from "../support/fault_proxy.ts";

/** The API server as a fleet needs it. */
export interface FleetGround {
  /** Straight to the server, past the proxies. */
  readonly api: KubeApi;
  readonly port: number;
  /** A kubeconfig for a replica in this place, by way of a proxy's port. */
  kubeconfig(place: number, port: number): Promise<string>;
}

/** A replica that is, or was, running. */
export interface Member {
  readonly place: number;
  /** POD_NAME: its identity in the lease begins with it. */
  readonly name: string;
  readonly proxy: FaultProxy;
  readonly controller: Controller;
}

const LEASE = "zen-watcher-leader-election";

/** The replicas of a test. */
export class Fleet implements AsyncDisposable {
  readonly #ground: FleetGround;
  readonly #env: Readonly<Record<string, string>>;
  readonly #members = new Map<number, Member>();
  readonly #proxies = new Map<number, FaultProxy>();
  #started = 0;
  /** Books scraped right before a process was ended. */
  scraped = 0;

  constructor(ground: FleetGround, env: Readonly<Record<string, string>> = {}) {
    this.#ground = ground;
    this.#env = env;
  }

  get api(): KubeApi {
    return this.#ground.api;
  }

  get members(): readonly Member[] {
    return [...this.#members.values()];
  }

  get proxies(): readonly FaultProxy[] {
    return [...this.#proxies.values()];
  }

  /** Where senders may go now. */
  get urls(): readonly string[] {
    return this.members.map(({ controller }) => controller.url);
  }

  /** Starts a replica under a new name: it cannot take back a lease of its predecessor. */
  async start(place: number): Promise<Member> {
    const proxy = this.#proxies.get(place) ??
      await startFaultProxy({ hostname: "127.0.0.1", port: this.#ground.port });
    this.#proxies.set(place, proxy);
    const name = `replica-${place}-${++this.#started}`;
    const controller = await startController({
      kubeconfig: await this.#ground.kubeconfig(place, proxy.port),
      env: { POD_NAME: name, DISCOVERY_INTERVAL: "1s", ...this.#env },
    });
    const member = { place, name, proxy, controller };
    this.#members.set(place, member);
    return member;
  }

  /** Ends a replica; its books are read right before, and must balance. SIGTERM must end with code 0. */
  async end({ place, controller }: Member, signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    this.#members.delete(place);
    if (signal === "SIGKILL") await this.balanced(controller.url);
    controller.kill(signal);
    const { code } = await controller.exited;
    if (signal === "SIGTERM") assertEquals(code, 0, controller.lines.slice(-5).join("\n"));
  }

  /** `events = created + deduped + filtered + failed + in flight`, in one snapshot. */
  async balanced(url: string): Promise<void> {
    for (const [source, account] of Object.entries(await accountsOf(url))) {
      const { events, created, deduped, filtered, failed, inFlight } = account;
      assertEquals(events, created + deduped + filtered + failed + inFlight, `books of ${source}`);
    }
    this.scraped++;
  }

  /** Nothing is in flight anywhere, and every book balances. */
  async closed(): Promise<void> {
    for (const url of this.urls) await closedBooks(url);
  }

  /** The holder of the lease, if it is one of the living. */
  async leader(): Promise<Member | undefined> {
    const { spec } = await this.api.get(LEASES, LEASE, { namespace: "zen-system" });
    const holder = isObject(spec) ? String(spec.holderIdentity) : "";
    return this.members.find(({ name }) => holder.startsWith(`${name}_`));
  }

  async untilLed(): Promise<Member> {
    return await eventually("a leader", () => this.leader(), { timeoutMs: 120_000 });
  }

  /** Milliseconds until one that is not `former` leads. */
  async untilLedByAnother(former: Member, sinceMs: number): Promise<number> {
    await eventually("another leader", async () => {
      const leader = await this.leader();
      return leader !== undefined && leader.name !== former.name;
    }, { timeoutMs: 120_000 });
    return performance.now() - sinceMs;
  }

  async follower(): Promise<Member> {
    const leader = await this.untilLed();
    const follower = this.members.find(({ name }) => name !== leader.name);
    if (!follower) throw new Error("Cannot find a follower: the leader is alone");
    return follower;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { controller } of this.members) await controller[Symbol.asyncDispose]();
    for (const proxy of this.proxies) await proxy[Symbol.asyncDispose]();
  }
}
