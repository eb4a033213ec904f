/** Filters of a running program edited fifty times, every second time for the worse, while alerts come in. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { JsonObject } from "../../src/model/json.ts";
import type { KubeApi, KubeObject } from "../../src/kube/api.ts";
import { EVENTS } from "../../src/kube/events.ts";
import type { TestApp } from "./app.ts";
import { eventually } from "./eventually.ts";
import { CONFIG_MAPS } from "../../src/kube/core_resources.ts";

const EDITS = 50;
const ALERTS_PER_SECOND = 200;
const BATCH = 10;
const NAMESPACE = "zen-system";
const NAME = "zen-watcher-filter";

/** What the story measured. */
export interface FilterStory {
  /** From the API server's answer to an edit until the program judges by it, in ms. */
  readonly loadedMs: readonly number[];
  readonly alerts: number;
}

interface FiltersStatus {
  readonly configMap: {
    readonly state: string;
    readonly resourceVersion?: string;
    readonly lastRejection?: { readonly resourceVersion?: string; readonly problems: readonly string[] };
  };
}

/** Runs it; asserts that the last valid filters were always active and that every alert was decided. */
export async function playFilterStory(app: TestApp, api: KubeApi): Promise<FilterStory> {
  const stop = new AbortController();
  const sending = sendAlerts(app, stop.signal);
  const loadedMs: number[] = [];
  try {
    await editAll(app, api, loadedMs);
  } finally {
    stop.abort();
    await sending;
  }
  const alerts = await sending;
  await assertTold(app, api);
  assertBalance(app, alerts + 2 * EDITS);
  return { loadedMs, alerts };
}

async function editAll(app: TestApp, api: KubeApi, loadedMs: number[]): Promise<void> {
  let ruled = "";
  for (let edit = 1; edit <= EDITS; edit++) {
    const rule = `rule-${edit}`;
    const isGood = edit % 2 === 1;
    const excludeRules = isGood ? [rule] : rule;
    const version = await write(api, JSON.stringify({ sources: { falco: { excludeRules } } }));
    const writtenAt = performance.now();
    const status = await eventually(`edit ${edit}`, async () => {
      const { configMap } = await filtersOf(app);
      const seen = isGood ? configMap.resourceVersion : configMap.lastRejection?.resourceVersion;
      return seen === version && configMap;
    });
    if (isGood) {
      loadedMs.push(performance.now() - writtenAt);
      ruled = rule;
    } else {
      assertEquals(status.state, "rejected");
      assertStringIncludes(
        status.lastRejection?.problems[0] ?? "",
        `at sources.falco.excludeRules: expected a list, received "${rule}" (line 1, column 37)`,
      );
    }
    assertEquals(await ask(app, ruled), "filtered", `after edit ${edit}`);
    assertEquals(await ask(app, `rule-${edit % 2 === 1 ? edit - 1 : edit}`), "kept", `after edit ${edit}`);
  }
}

/** Alerts of a rule no edit names: a steady stream, of a few Pods only. */
async function sendAlerts(app: TestApp, signal: AbortSignal): Promise<number> {
  let sent = 0;
  const underWay = new Set<Promise<void>>();
  while (!signal.aborted) {
    const batch = Array.from({ length: BATCH }, (_, index) => alertOf("steady", `pod-${index}`));
    const post = app.post("/falco/webhook", batch).then(({ status }) => assertEquals(status, 200));
    sent += BATCH;
    const done = post.finally(() => underWay.delete(done));
    underWay.add(done);
    await new Promise((resolve) => setTimeout(resolve, 1_000 * BATCH / ALERTS_PER_SECOND));
  }
  await Promise.all(underWay);
  return sent;
}

/** Whether an alert of this rule is filtered now. */
async function ask(app: TestApp, rule: string): Promise<"filtered" | "kept"> {
  const { status, body } = await app.post("/falco/webhook", alertOf(rule, "asked"));
  assertEquals(status, 200);
  return body.filtered === 1 ? "filtered" : "kept";
}

function alertOf(rule: string, pod: string): JsonObject {
  return {
    rule,
    priority: "Warning",
    output: "Something happened",
    output_fields: { "k8s.ns.name": NAMESPACE, "k8s.pod.name": pod },
  };
}

async function filtersOf(app: TestApp): Promise<FiltersStatus> {
  const response = await fetch(`${app.url}/tools/status`);
  const { filters } = await response.json() as { filters: FiltersStatus };
  return filters;
}

async function write(api: KubeApi, text: string): Promise<string | undefined> {
  const object: KubeObject = {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: NAME, namespace: NAMESPACE },
    data: { "filter.json": text },
  };
  const options = { namespace: NAMESPACE };
  try {
    return (await api.replace(CONFIG_MAPS, object, options)).metadata.resourceVersion;
  } catch {
    return (await api.create(CONFIG_MAPS, object, options)).metadata.resourceVersion;
  }
}

async function assertTold(app: TestApp, api: KubeApi): Promise<void> {
  assertEquals(await app.metric("filter_reload_total", { result: "rejected" }), EDITS / 2);
  assertEquals(await app.metric("filter_reload_total", { result: "loaded" }), EDITS / 2);
  await eventually("an Event on the ConfigMap", async () => {
    const { items } = await api.list(EVENTS, { namespace: NAMESPACE });
    return items.some(({ reason, involvedObject }) =>
      reason === "FiltersRejected" && (involvedObject as { name?: string } | undefined)?.name === NAME
    );
  });
}

function assertBalance(app: TestApp, alerts: number): void {
  const account = app.books.accounts().falco;
  assert(account);
  assertEquals(account.events, alerts);
  assertEquals(account.inFlight, 0);
  assertEquals(account.created + account.deduped + account.filtered + account.failed, alerts);
  assertEquals(account.failed, 0);
}
