/**
 * The load of everybody else, and probes, while an attack runs: Falco's alerts at a fixed rate, audit batches, changes of Trivy's
 * reports. Senders retry what is not accepted. A thread of its own, so that the attacker's work does not slow it down.
 */
import { fixedConnection } from "../../src/kube/api.ts";
import { createKubeClient } from "../../src/kube/client.ts";
import type { JsonObject } from "../../src/model/json.ts";
import { alert } from "../support/alerts.ts";
import { changeReports } from "../support/reports.ts";

/** What to send where. */
export interface OthersLoad {
  /** The program's. */
  readonly url: string;
  readonly webhookToken: string;
  readonly server: { readonly url: string; readonly caPem: string; readonly token: string };
  readonly namespace: string;
  readonly alertsPerSecond: number;
  /** Changes of reports a second; an audit batch of five is sent as often. */
  readonly changesPerSecond: number;
}

/** What the senders met. Times are in ms. */
export interface Met {
  /** Pods of alerts and audit events and when each was accepted, by `Date.now()`. */
  readonly falco: readonly (readonly [pod: string, at: number])[];
  readonly audit: readonly (readonly [pod: string, at: number])[];
  /** Findings of Trivy, as `findingsOf()` names them. */
  readonly trivy: readonly string[];
  readonly alertsSent: number;
  /** Alerts accepted before the end was asked for, a second. */
  readonly alertsPerSecond: number;
  /** The longest time from when an alert was due until it was accepted. */
  readonly slowestMs: number;
  /** Answers of 503, and requests without an answer, that were sent again. */
  readonly refused: number;
  readonly unanswered: number;
  readonly probes: number;
  readonly slowestProbeMs: number;
  /** Probes that were not answered with 200. */
  readonly failedProbes: readonly string[];
}

/** Messages of the worker: how many alerts have been accepted, or what came of it all. */
export type Message = { readonly accepted: number } | { readonly met: Met } | { readonly error: string };

const PROBE_INTERVAL_MS = 100;
const PROBE_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 90_000;
/** What is not accepted so long after the end was asked for is lost. */
const DRAIN_MS = 120_000;
const MAX_WAIT_MS = 1_000;
const AUDIT_BATCH = 5;
const CHANGES_OF_A_REPORT = 3;

declare const self: {
  postMessage(message: Message): void;
  onmessage: ((event: MessageEvent<OthersLoad | "end">) => void) | null;
};

let ending = Promise.withResolvers<void>();

self.onmessage = ({ data }) => {
  if (data === "end") return ending.resolve();
  ending = Promise.withResolvers();
  send(data, ending.promise).then(
    (met) => self.postMessage({ met }),
    (error) => self.postMessage({ error: error instanceof Error ? error.stack ?? "" : String(error) }),
  );
};

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, Math.max(0, ms)));

async function send(load: OthersLoad, ended: Promise<void>): Promise<Met> {
  const { namespace, alertsPerSecond, changesPerSecond, server } = load;
  const startedAt = performance.now();
  let isOver = false, giveUpAt = Infinity, windowMs = 0, acceptedInTime = 0, alertsSent = 0;
  const over = ended.then(() => {
    isOver = true;
    windowMs = performance.now() - startedAt;
    giveUpAt = performance.now() + DRAIN_MS;
  });
  const falco: [string, number][] = [], audit: [string, number][] = [], trivy: string[] = [];
  let slowestMs = 0, refused = 0, unanswered = 0;
  let probes = 0, slowestProbeMs = 0;
  const failedProbes: string[] = [];
  using api = createKubeClient(
    fixedConnection({
      server: server.url,
      caPem: server.caPem,
      authorization: `Bearer ${server.token}`,
    }),
  );

  /** Sends until it is accepted; false where it never was. */
  async function untilAccepted(path: string, body: JsonObject, from: string): Promise<boolean> {
    while (performance.now() < giveUpAt) {
      try {
        const response = await fetch(load.url + path, {
          method: "POST",
          headers: {
            "content-type": "application/json",
            authorization: `Bearer ${load.webhookToken}`,
            "x-forwarded-for": from,
          },
          body: JSON.stringify(body),
          signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
        });
        const text = await response.text();
        if (response.status === 200) return true;
        if (response.status !== 503) throw new Error(`Cannot post to ${path}: ${response.status} ${text}`);
        refused++;
        await pause(Math.min(MAX_WAIT_MS, Number(response.headers.get("retry-after") ?? 1) * 1_000));
      } catch (error) {
        if (error instanceof Error && error.message.startsWith("Cannot post")) throw error;
        unanswered++;
        await pause(100);
      }
    }
    return false;
  }

  /** Does `work` for each number at a fixed rate until the end is asked for, and waits for all of it. */
  async function atRate(
    perSecond: number,
    work: (index: number, dueAt: number) => Promise<void>,
  ): Promise<void> {
    const running: Promise<void>[] = [];
    if (perSecond === 0) return;
    for (let index = 0;; index++) {
      const dueAt = startedAt + index * 1_000 / perSecond;
      await Promise.race([pause(dueAt - performance.now()), over]);
      if (isOver) break;
      running.push(work(index, dueAt));
    }
    await Promise.all(running);
  }

  const alerts = atRate(alertsPerSecond, async (index, dueAt) => {
    const pod = `pod-${index}`;
    alertsSent++;
    if (!await untilAccepted("/falco/webhook", alert(namespace, index), "10.1.0.1")) return;
    falco.push([pod, Date.now()]);
    slowestMs = Math.max(slowestMs, performance.now() - dueAt);
    if (isOver) return;
    self.postMessage({ accepted: ++acceptedInTime });
  });
  const batches = atRate(changesPerSecond, async (index) => {
    const pods = Array.from({ length: AUDIT_BATCH }, (_, each) => `gone-${index * AUDIT_BATCH + each}`);
    const items = pods.map((name) => deletion(namespace, name));
    const body = { kind: "EventList", apiVersion: "audit.k8s.io/v1", items };
    if (!await untilAccepted("/audit/webhook", body, "10.1.0.2")) return;
    for (const pod of pods) audit.push([pod, Date.now()]);
  });
  // A report is changed by one writer, in order.
  let lastChange = Promise.resolve();
  const changes = atRate(changesPerSecond, (index) => {
    const report = Math.floor(index / CHANGES_OF_A_REPORT), found = index % CHANGES_OF_A_REPORT;
    lastChange = lastChange.then(async () => {
      await changeReports(api, { namespace, reports: [report, report + 1], found: [found, found + 1] });
      trivy.push(`app-${report} CVE-2026-${1_000 + found}`);
    });
    return lastChange;
  });
  const probing = (async () => {
    while (!isOver) {
      const at = performance.now();
      try {
        const response = await fetch(`${load.url}/health`, {
          headers: { connection: "close" },
          signal: AbortSignal.timeout(PROBE_TIMEOUT_MS),
        });
        await response.body?.cancel();
        if (response.status !== 200) failedProbes.push(String(response.status));
      } catch (error) {
        failedProbes.push(error instanceof Error ? error.message : String(error));
      }
      probes++;
      slowestProbeMs = Math.max(slowestProbeMs, performance.now() - at);
      await Promise.race([pause(PROBE_INTERVAL_MS), over]);
    }
  })();
  await Promise.all([alerts, batches, changes, probing]);
  return {
    falco,
    audit,
    trivy,
    alertsSent,
    alertsPerSecond: acceptedInTime * 1_000 / windowMs,
    slowestMs,
    refused,
    unanswered,
    probes,
    slowestProbeMs,
    failedProbes,
  };
}

/** A Pod's deletion by a person, as the API server reports it. */
function deletion(namespace: string, name: string): JsonObject {
  return {
    auditID: `${namespace}-${name}`,
    stage: "ResponseComplete",
    verb: "delete",
    user: { username: "jane" },
    objectRef: { resource: "pods", apiVersion: "v1", namespace, name },
    responseStatus: { code: 200 },
    requestReceivedTimestamp: new Date().toISOString(),
  };
}
