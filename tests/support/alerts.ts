/** Falco's alerts, one Pod each, and a sender that retries after every 503. */
import type { JsonObject } from "../../src/model/json.ts";
import type { KubeObject } from "../../src/kube/api.ts";
import { isObject } from "../../src/model/json.ts";

/** An alert about Pod `pod-<index>`; the same whenever it is sent again. */
export function alert(namespace: string, index: number, time = new Date().toISOString()): JsonObject {
  return {
    hostname: "node-1",
    rule: "Terminal shell in container",
    priority: "Notice",
    source: "syscall",
    time,
    output: "A shell was spawned in a container",
    output_fields: { "k8s.ns.name": namespace, "k8s.pod.name": `pod-${index}`, "proc.name": "sh" },
  };
}

/** The Pods that stored Observations of Falco are about, in order, doubles included. */
export function alertedPods(observations: Iterable<KubeObject | JsonObject>): string[] {
  const pods: string[] = [];
  for (const { spec } of observations) {
    if (isObject(spec) && spec.source === "falco" && isObject(spec.resource)) {
      pods.push(String(spec.resource.name));
    }
  }
  return pods.sort();
}

/** The Pods of `count` alerts. */
export function wantedPods(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `pod-${index}`).sort();
}

export interface SendAlertsOptions {
  readonly count: number;
  readonly namespace: string;
  readonly senders?: number;
  /** The longest a sender waits, whatever `Retry-After` says, so that a test is not all waiting. */
  readonly maxWaitMs?: number;
  /** Awaited by the sender whose alert it was; the others go on. */
  readonly onTaken?: () => Promise<void> | void;
}

/** What senders met until every alert was taken. */
export interface SendResult {
  /** 503. */
  refused: number;
  /** No answer: nothing listened, or the connection broke. */
  unanswered: number;
}

/**
 * Sends each alert until it is taken. `url` is called at each try, because a program that was killed comes back
 * elsewhere. Any answer but 200 and 503 is an error.
 */
export async function sendAlerts(url: () => string, options: SendAlertsOptions): Promise<SendResult> {
  const { count, namespace, senders = 8, onTaken } = options;
  const sent: SendResult = { refused: 0, unanswered: 0 };
  const queue = Array.from({ length: count }, (_, index) => index).values();
  const send = async () => {
    for (const index of queue) {
      const body = JSON.stringify(alert(namespace, index));
      while (!await taken(url(), { body, sent, options })) { /* again, later */ }
      await onTaken?.();
    }
  };
  await Promise.all(Array.from({ length: senders }, send));
  return sent;
}

async function taken(
  url: string,
  { body, sent, options }: { body: string; sent: SendResult; options: SendAlertsOptions },
): Promise<boolean> {
  const { maxWaitMs = 1_000 } = options;
  let response: Response;
  try {
    response = await fetch(`${url}/falco/webhook`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
    });
  } catch {
    sent.unanswered++;
    await wait(Math.min(maxWaitMs, 100));
    return false;
  }
  // A program that is killed while it answers breaks off here.
  const text = await response.text().catch(() => "");
  if (response.status === 200) return true;
  if (response.status !== 503) throw new Error(`Cannot post an alert: HTTP ${response.status} ${text}`);
  sent.refused++;
  const retryAfterMs = Number(response.headers.get("retry-after")) * 1_000;
  if (!(retryAfterMs > 0)) throw new Error(`Cannot post an alert: 503 without Retry-After: ${text}`);
  await wait(Math.min(maxWaitMs, retryAfterMs));
  return false;
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
