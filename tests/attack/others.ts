/** Everybody else's load, and whether all of it is stored once. */
import { eventually } from "../support/eventually.ts";
import type { RealCluster } from "../support/cluster.ts";
import { valueIn } from "../support/chart.ts";
import { listAll } from "../support/objects.ts";
import { findingsOf } from "../support/reports.ts";
import type { Message, Met, OthersLoad } from "./others_worker.ts";

/** A running load. */
export class Others implements Disposable {
  readonly #worker: Worker;
  readonly #ended: Promise<Met>;
  #accepted = 0;

  private constructor(load: OthersLoad) {
    this.#worker = new Worker(new URL("others_worker.ts", import.meta.url), { type: "module" });
    this.#ended = new Promise((resolve, reject) => {
      this.#worker.onmessage = ({ data }: MessageEvent<Message>) => {
        if ("met" in data) resolve(data.met);
        else if ("accepted" in data) this.#accepted = data.accepted;
        else reject(new Error(data.error));
      };
    });
    this.#ended.catch(() => {});
    this.#worker.postMessage(load);
  }

  static start(load: OthersLoad): Others {
    return new Others(load);
  }

  /** Waits until so many more alerts are accepted. */
  async accept(count: number): Promise<void> {
    const target = this.#accepted + count;
    const failed = this.#ended.then(() => {});
    await Promise.race([
      failed,
      eventually(`${count} more alerts to be accepted`, () => this.#accepted >= target, {
        timeoutMs: 240_000,
      }),
    ]);
  }

  /** Ends the load once everything that was sent is accepted. */
  async end(): Promise<Met> {
    this.#worker.postMessage("end");
    return await this.#ended;
  }

  [Symbol.dispose](): void {
    this.#worker.terminate();
  }
}

/** How many of the events that the senders were told are accepted are not stored, and how many are stored twice. */
export interface Kept {
  readonly wanted: number;
  readonly lost: number;
  readonly doubled: number;
}

/** Waits until all that `met` says was accepted is stored; then counts. Pushed events accepted before `since` do not count. */
export async function keptOf(
  cluster: RealCluster,
  { met, namespace, since = 0 }: { readonly met: Met; readonly namespace: string; readonly since?: number },
): Promise<Kept> {
  const pushed = (source: string, events: Met["falco"]) =>
    events.filter(([, acceptedAt]) => acceptedAt >= since).map(([pod]) => `${source} ${pod}`);
  const wanted = [
    ...pushed("falco", met.falco),
    ...pushed("audit", met.audit),
    ...met.trivy.map((finding) => `trivy ${finding}`),
  ];
  let stored: string[] = [];
  const missing = () => {
    const there = new Set(stored);
    return wanted.filter((key) => !there.has(key)).length;
  };
  await eventually(`everything of ${namespace} to be stored`, async () => {
    const items = await listAll(cluster, `/apis/zen.kube-zen.io/v1/namespaces/${namespace}/observations`);
    stored = [
      ...items.flatMap(({ spec }) => {
        const source = valueIn(spec, "source");
        return source === "trivy" ? [] : [`${source} ${valueIn(spec, "resource", "name")}`];
      }),
      ...findingsOf(items).map((finding) => `trivy ${finding}`),
    ];
    return missing() === 0;
  }, { timeoutMs: 120_000 }).catch(() => {}); // the count says how many are lost
  return { wanted: wanted.length, lost: missing(), doubled: stored.length - new Set(stored).size };
}
