/** What an attacker can do to a running program, and to everybody else by it. The long form is about ten times as large. */
import { type KubeObject } from "../../src/kube/api.ts";
import type { JsonObject } from "../../src/model/json.ts";
import { OBSERVATIONS } from "../../src/store/observations.ts";
import { alert } from "../support/alerts.ts";
import { valueIn } from "../support/chart.ts";
import type { RealCluster } from "../support/cluster.ts";
import { eventually } from "../support/eventually.ts";
import { HOSTILE_EXPRESSIONS } from "../support/hostile_expressions.ts";
import { HOSTILE_TEXTS } from "../support/hostile_texts.ts";
import { ensureNamespaces, listAll } from "../support/objects.ts";
import { storedObservation } from "../support/observation.ts";
import { POLICY_REPORTS, policyReport } from "../support/policy_reports.ts";
import { changeReports, findingsOf, wantedFindings } from "../support/reports.ts";
import { LONG } from "./form.ts";
import type { Others } from "./others.ts";
import type { AttackGround } from "./real_ground.ts";

/** Where an attack is made: everybody else's load runs. */
export interface Scene extends AttackGround {
  readonly others: Others;
  /** The attacker's namespace. */
  readonly evil: string;
}

export interface Attack {
  readonly name: string;
  /** What is there before; not measured. */
  prepare?(ground: AttackGround & { readonly evil: string }): Promise<void>;
  /** Resolves when the attack is over, with what came of it. */
  strike(scene: Scene): Promise<string>;
  /** Takes away what the attack left; not measured. */
  cleanUp?(ground: AttackGround & { readonly evil: string }): Promise<void>;
  /** The attack takes the API server away: of pushed events only those count that were accepted after it. */
  readonly restoresEtcd?: boolean;
}

const SCALE = LONG ? 10 : 1;
const ZEN = "/apis/zen.kube-zen.io";
const NAMESPACE = "zen-system";
/** A connection of the attacker is held until so many alerts of the others are accepted. */
const HELD_ALERTS = LONG ? 300 : 40;
const BODY_BYTES = LONG ? 16 * 2 ** 20 - 1024 : 2 ** 20;
/** As much as a ConfigMap holds. */
const CONFIG_MAP_BYTES = 1_000_000;

const many = <T>(length: number, of: (index: number) => T): T[] =>
  Array.from({ length }, (_, index) => of(index));

async function inParallel<T>(items: Iterable<T>, work: (item: T) => Promise<void>): Promise<void> {
  const queue = items[Symbol.iterator]();
  await Promise.all(many(8, async () => {
    for (let next = queue.next(); !next.done; next = queue.next()) await work(next.value);
  }));
}

/** Counts, as text. */
function counted(values: readonly (string | number)[]): string {
  const counts = new Map<string, number>();
  for (const value of values) counts.set(String(value), (counts.get(String(value)) ?? 0) + 1);
  return [...counts].sort().map(([value, count]) => `${count} × ${value}`).join(", ");
}

/** Posts as the holder of the token does, and returns the status; 0 where there was no answer. */
async function post(
  { controller, webhookToken }: AttackGround,
  path: string,
  body: Uint8Array<ArrayBuffer> | JsonObject,
): Promise<number> {
  try {
    const response = await fetch(controller.url + path, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        authorization: `Bearer ${webhookToken}`,
        "x-forwarded-for": "10.9.9.9",
      },
      body: body instanceof Uint8Array ? body : JSON.stringify(body),
      signal: AbortSignal.timeout(120_000),
    });
    await response.body?.cancel();
    return response.status;
  } catch {
    return 0;
  }
}

/** How many objects there are at a path, without reading them. */
async function countAt(cluster: RealCluster, path: string): Promise<number> {
  const { body } = await cluster.expect("GET", `${path}${path.includes("?") ? "&" : "?"}limit=1`);
  const items = valueIn(body, "items");
  return (Array.isArray(items) ? items.length : 0) +
    Number(valueIn(body, "metadata", "remainingItemCount") ?? 0);
}

const observationsIn = (namespace: string) => `${ZEN}/v1/namespaces/${namespace}/observations`;

async function untilStored({ cluster, evil }: Scene, count: number): Promise<void> {
  await eventually(
    `${count} findings of ${evil}`,
    async () => await countAt(cluster, observationsIn(evil)) >= count,
    { timeoutMs: 600_000 },
  );
}

interface Judged {
  /** The first letters of the objects' names. */
  readonly names: string;
  /** How many may still be without a condition: statuses are written at a bounded rate. */
  readonly without?: number;
}

/** Waits until each object says whether it is ready; returns the reasons, counted. */
async function untilJudged(
  cluster: RealCluster,
  path: string,
  { names, without: most = 0 }: Judged,
): Promise<string> {
  const reasons = await eventually(`the conditions of ${path}`, async () => {
    const items = (await listAll(cluster, path)).filter((item) =>
      String(valueIn(item, "metadata", "name")).startsWith(names)
    );
    const found = items.map((item) => valueIn(item, "status", "conditions", 0, "reason"));
    const without = found.filter((reason) => reason === undefined).length;
    if (without > most) throw new Error(`${without} of ${items.length} have none`);
    return found.map((reason) => reason === undefined ? "not judged yet" : String(reason));
  }, { timeoutMs: 300_000 });
  return counted(reasons);
}

async function removeReports(
  { cluster, evil }: { readonly cluster: RealCluster; readonly evil: string },
): Promise<void> {
  await cluster.expect("DELETE", `/apis/wgpolicyk8s.io/v1alpha2/namespaces/${evil}/policyreports`);
  await cluster.expect("DELETE", observationsIn(evil));
}

interface Flood extends Disposable {
  /** Connections that were opened. */
  readonly opened: number;
}

/** Opens connections, writes `text` on each and reads nothing. */
async function openMany(
  url: string,
  { count, text, halfClose = false }: {
    readonly count: number;
    readonly text: string | Uint8Array<ArrayBuffer>;
    readonly halfClose?: boolean;
  },
): Promise<Flood> {
  const port = Number(new URL(url).port);
  const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text;
  const open: Deno.Conn[] = [];
  await inParallel(many(count, (index) => index), async () => {
    try {
      const connection = await Deno.connect({ hostname: "127.0.0.1", port });
      open.push(connection);
      if (bytes.length > 0) await connection.write(bytes);
      if (halfClose) await connection.closeWrite();
    } catch { /* it was refused, or closed */ }
  });
  return {
    opened: open.length,
    [Symbol.dispose]() {
      for (const connection of open) connection.close();
    },
  };
}

/** HTTP/2 in clear: a client that asks for `/metrics` on many streams and never opens its window. */
function http2Streams(streams: number): Uint8Array<ArrayBuffer> {
  const bytes = [...new TextEncoder().encode("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")];
  const frame = (type: number, flags: number, stream: number, payload: readonly number[]) =>
    bytes.push(
      ...[payload.length >> 16, payload.length >> 8, payload.length].map((byte) => byte & 255),
      type,
      flags,
      ...[stream >> 24, stream >> 16, stream >> 8, stream].map((byte) => byte & 255),
      ...payload,
    );
  frame(4, 0, 0, [0, 4, 0, 0, 0, 0]); // SETTINGS_INITIAL_WINDOW_SIZE = 0
  const path = [...new TextEncoder().encode("/metrics")];
  const get = [0x82, 0x86, 0x04, path.length, ...path, 0x41, 1, 97];
  for (let index = 0; index < streams; index++) frame(1, 5, 2 * index + 1, get);
  return new Uint8Array(bytes);
}

const SLOW_CONNECTIONS: Readonly<Record<string, { readonly text: string; readonly halfClose?: boolean }>> = {
  "that send nothing": { text: "" },
  "that send half a head of 8 kB": { text: `GET /health HTTP/1.1\r\nhost: a\r\nx: ${"y".repeat(8_000)}` },
  "that send half a body": {
    text: "POST /falco/webhook HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n{",
  },
  "that are half closed": { text: "GET /health HTTP/1.1\r\nhost: a\r\n", halfClose: true },
  "that read no answer": { text: "GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n".repeat(20) },
};

function connectionAttacks(): Attack[] {
  const held = Object.entries(SLOW_CONNECTIONS).map(([name, options]): Attack => ({
    name: `1,500 connections ${name}`,
    async strike({ controller, others }) {
      using first = await openMany(controller.url, { count: 1_500, ...options });
      using second = await openMany(controller.metricsUrl, { count: 300, ...options });
      await others.accept(HELD_ALERTS);
      return `${first.opened} and ${second.opened} opened`;
    },
  }));
  return [...held, {
    name: "200 heads, a byte at a time",
    async strike({ controller, others }) {
      using _flood = await openMany(controller.url, { count: 50, text: "GET" });
      const port = Number(new URL(controller.url).port);
      let isOver = false, written = 0;
      const writers = many(200, async () => {
        const connection = await Deno.connect({ hostname: "127.0.0.1", port });
        try {
          while (!isOver) {
            written += await connection.write(new Uint8Array([65]));
            await new Promise((resolve) => setTimeout(resolve, 100));
          }
        } catch { /* the program closed it */ }
        connection.close();
      });
      await others.accept(HELD_ALERTS);
      isOver = true;
      await Promise.all(writers);
      return `${written} bytes`;
    },
  }, {
    name: `${(6_000 * SCALE).toLocaleString("en")} connections one after the other`,
    async strike({ controller }) {
      let opened = 0;
      for (let round = 0; round < 60 * SCALE; round++) {
        using flood = await openMany(controller.url, { count: 100, text: "GET / HTTP/1.1\r\n" });
        opened += flood.opened;
      }
      return `${opened} opened`;
    },
  }, {
    name: "HTTP/2 in clear, window 0, 120 × 200 streams",
    async strike({ controller, others }) {
      const text = http2Streams(200);
      using first = await openMany(controller.url, { count: 120, text });
      using second = await openMany(controller.metricsUrl, { count: 120, text });
      await others.accept(HELD_ALERTS);
      return `${first.opened} and ${second.opened} opened`;
    },
  }];
}

function textAttacks(): Attack[] {
  return [{
    name: `${Object.keys(HOSTILE_TEXTS).length} hostile texts of ${
      Math.round(BODY_BYTES / 2 ** 20)
    } MiB posted`,
    async strike(scene) {
      const statuses: number[] = [];
      const queue = Object.entries(HOSTILE_TEXTS).values();
      await Promise.all(many(2, async () => {
        for (const [name, make] of queue) {
          const body = make(BODY_BYTES) as Uint8Array<ArrayBuffer>;
          const path = name.startsWith("audit") ? "/audit/webhook" : "/falco/webhook";
          statuses.push(await post(scene, path, body));
        }
      }));
      return counted(statuses);
    },
  }, {
    name: `${Object.keys(HOSTILE_TEXTS).length} hostile texts of 1 MB in ConfigMaps`,
    async strike({ cluster }) {
      const path = "/api/v1/namespaces/kube-bench/configmaps";
      const create = (name: string, bytes: Uint8Array) =>
        cluster.expect("POST", path, {
          body: {
            metadata: { name, labels: { app: "kube-bench" } },
            binaryData: { "results.json": bytes.toBase64() },
          },
        });
      for (const [index, make] of Object.values(HOSTILE_TEXTS).entries()) {
        await create(`hostile-${index}`, make(CONFIG_MAP_BYTES - 100).subarray(0, CONFIG_MAP_BYTES));
      }
      const results = [{ test_number: "1.1.1", test_desc: "a", status: "FAIL", scored: true }];
      const controls = { version: "cis-1.10", node_type: "node", tests: [{ section: "1.1", results }] };
      const text = JSON.stringify({ Controls: [controls] });
      await create("honest", new TextEncoder().encode(text));
      const selector = "?labelSelector=zen.kube-zen.io/source%3Dkube-bench";
      await eventually(
        "the honest ConfigMap's finding",
        async () => await countAt(cluster, `${ZEN}/v1/observations${selector}`) > 0,
        { timeoutMs: 300_000 },
      );
      return "an honest ConfigMap behind them is read";
    },
    async cleanUp({ cluster }) {
      await cluster.expect(
        "DELETE",
        "/api/v1/namespaces/kube-bench/configmaps?labelSelector=app%3Dkube-bench",
      );
    },
  }, {
    name: "20 hostile texts of 300 kB as the filters' ConfigMap",
    async strike({ cluster, others }) {
      const path = `/api/v1/namespaces/${NAMESPACE}/configmaps/zen-watcher-filter`;
      const put = (text: string) =>
        cluster.expect("PATCH", path, {
          body: { data: { "filter.json": text } },
          contentType: "application/merge-patch+json",
        });
      const { body } = await cluster.expect("GET", path);
      const good = String(valueIn(body, "data", "filter.json"));
      const anchors = many(
        9_000,
        (index) => `a${index}: &a${index} [${index === 0 ? "" : `*a${index - 1}`}]`,
      );
      const texts = Object.values(HOSTILE_TEXTS).slice(0, 19).map((make) =>
        new TextDecoder().decode(make(300_000))
      );
      for (const text of [anchors.join("\n"), ...texts]) {
        await put(text);
        await others.accept(5);
      }
      await put(good);
      return "each is rejected";
    },
  }];
}

function reportAttacks(): Attack[] {
  const engines = 100 * SCALE;
  const few = LONG ? 10_000 : 1_000;
  const LARGE: readonly ((index: number) => JsonObject)[] = [
    () => ({ message: "password=x ".repeat(80_000) }),
    () => ({ message: "\u200b".repeat(300_000) }),
    () => ({ properties: Object.fromEntries(many(40_000, (key) => [`key-${key}`, "a"])) }),
    () => ({ properties: { resource: "é".repeat(400_000) } }),
    () => ({ resources: many(200, (pod) => ({ kind: "Pod", name: `pod-${pod}`, namespace: "shop" })) }),
  ];
  return [{
    name: `${20 * SCALE} hostile reports of about 1 MB`,
    async strike(scene) {
      const { api, evil } = scene;
      await inParallel(many(20 * SCALE, (index) => index), async (index) => {
        const report = policyReport(evil, `large-${index}`, { results: 1 });
        const [result] = report["results"] as JsonObject[];
        const large = LARGE[index % LARGE.length]?.(index);
        await api.create(POLICY_REPORTS, { ...report, results: [{ ...result, ...large }] });
      });
      await api.create(POLICY_REPORTS, policyReport(evil, "honest", { results: 1 }));
      const honest = `${observationsIn(evil)}?fieldSelector=spec.resource.name%3Dhonest`;
      await eventually(
        "the honest report's finding",
        async () => await countAt(scene.cluster, honest) > 0,
        { timeoutMs: 120_000 },
      );
      return "an honest report behind them is read";
    },
    cleanUp: removeReports,
  }, {
    name: `${engines.toLocaleString("en")} invented engines of reports`,
    async strike(scene) {
      const { api, evil } = scene;
      await inParallel(many(SCALE, (index) => index), async (index) => {
        const report = policyReport(evil, `invented-${index}`, { results: 300, engines: 100 });
        const text = JSON.stringify(report).replaceAll('"engine-', `"engine-${index}-`);
        await api.create(POLICY_REPORTS, JSON.parse(text));
      });
      await untilStored(scene, 300 * SCALE);
      return `${300 * SCALE} findings stored`;
    },
    cleanUp: removeReports,
  }, {
    name: "8 reports of one tenant at once, 300 results each",
    async strike(scene) {
      const { api, evil } = scene;
      await inParallel(many(8, (index) => index), async (index) => {
        await api.create(POLICY_REPORTS, policyReport(evil, `report-${index}`, { results: 300 }));
      });
      await untilStored(scene, 2_400);
      return "2400 findings stored";
    },
    cleanUp: removeReports,
  }, {
    name: `${few.toLocaleString("en")} reports of one tenant`,
    async strike(scene) {
      const { api, evil } = scene;
      await inParallel(many(few, (index) => index), async (index) => {
        await api.create(POLICY_REPORTS, policyReport(evil, `report-${index}`, { results: 1 }));
      });
      await untilStored(scene, few);
      return `${few} findings stored`;
    },
    cleanUp: removeReports,
  }];
}

/** Alerts for a namespace that refuses Observations, and how many are stored in the controller's own instead. */
async function alertRefusing(scene: Scene): Promise<string> {
  const count = 110 * SCALE;
  const statuses = await Promise.all(
    many(count, (index) => post(scene, "/falco/webhook", alert(scene.evil, index))),
  );
  const items = await listAll(scene.cluster, observationsIn(NAMESPACE));
  const stored = items.filter(({ spec }) => valueIn(spec, "resource", "namespace") === scene.evil).length;
  return `${counted(statuses)}; ${stored} stored in ${NAMESPACE}`;
}

/** Waits until a namespace refuses Observations. */
async function untilRefused(cluster: RealCluster, namespace: string): Promise<void> {
  await eventually(`${namespace} to refuse Observations`, async () => {
    const { status } = await cluster.ask("POST", `${observationsIn(namespace)}?dryRun=All`, {
      body: planted(namespace, crypto.randomUUID()) as unknown as JsonObject,
    });
    return status === 403 || status === 422;
  });
}

/** An Observation that zen-watcher did not write, about another namespace. */
function planted(namespace: string, id: string | number): KubeObject {
  const { metadata: { uid: _uid, resourceVersion: _version, creationTimestamp: _at, ...metadata }, spec } =
    storedObservation({ id, namespace, resource: { namespace: "shop" } });
  const object = {
    apiVersion: "zen.kube-zen.io/v1",
    kind: "Observation",
    metadata: { ...metadata, namespace },
    spec,
  };
  return object as unknown as KubeObject;
}

function refusalAttacks(): Attack[] {
  const policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolic";
  return [{
    name: `a tenant with quota 0, ${110 * SCALE} alerts`,
    async prepare({ cluster, evil }) {
      const hard = { "count/observations.zen.kube-zen.io": "0" };
      const path = `/api/v1/namespaces/${evil}/resourcequotas`;
      await cluster.expect("POST", path, { body: { metadata: { name: "none" }, spec: { hard } } });
      // As the quota controller writes it, which does not run here.
      await cluster.expect("PATCH", `${path}/none/status`, {
        body: { status: { hard, used: hard } },
        contentType: "application/merge-patch+json",
      });
      await untilRefused(cluster, evil);
    },
    strike: alertRefusing,
  }, {
    name: `a tenant with a denying admission policy, ${110 * SCALE} alerts`,
    async prepare({ cluster, evil }) {
      const resourceRules = [{
        apiGroups: ["zen.kube-zen.io"],
        apiVersions: ["*"],
        operations: ["CREATE"],
        resources: ["observations"],
      }];
      await cluster.expect("POST", `${policies}ies`, {
        body: {
          metadata: { name: "denies" },
          spec: {
            matchConstraints: { resourceRules },
            validations: [{ expression: `object.metadata.namespace != '${evil}'`, message: "not here" }],
          },
        },
      });
      await cluster.expect("POST", `${policies}ybindings`, {
        body: { metadata: { name: "denies" }, spec: { policyName: "denies", validationActions: ["Deny"] } },
      });
      await untilRefused(cluster, evil);
    },
    strike: alertRefusing,
    async cleanUp({ cluster }) {
      await cluster.expect("DELETE", `${policies}ybindings/denies`);
      await cluster.expect("DELETE", `${policies}ies/denies`);
    },
  }];
}

function configurationAttacks(): Attack[] {
  const long = "a".repeat(100_000);
  const TOO_LONG = [
    `details.text.matches('${long}')`,
    `details.text.matches('${"(".repeat(50_000)}${")".repeat(50_000)}')`,
    `details.text.matches('${"a?".repeat(50_000)}')`,
    `details.text == '${long}'`,
    `${"!".repeat(99_999)}true`,
    `${"(".repeat(50_000)}true${")".repeat(50_000)}`,
    Array(20_000).fill("true").join("||"),
    `[${Array(50_000).fill("1").join(",")}].all(x, x == 1)`,
  ];
  const PER_NAMESPACE = 20;
  const expressions = [...TOO_LONG, ...HOSTILE_EXPRESSIONS];
  const namespacesOf = (evil: string) =>
    many(Math.ceil(expressions.length / PER_NAMESPACE), (index) => `${evil}-${index}`);
  const filtersIn = (namespace: string) => `${ZEN}/v1alpha1/namespaces/${namespace}/observationfilters`;
  const create = async (cluster: RealCluster, namespace: string, name: string, spec: JsonObject) =>
    (await cluster.settled("POST", filtersIn(namespace), { body: filter(name, spec) })).status;
  const ingesters = `${ZEN}/v1alpha1/namespaces/${NAMESPACE}/ingesters`;
  return [{
    name:
      `${expressions.length} hostile expressions of tenants' filters, ${TOO_LONG.length} of 10⁵ characters`,
    prepare: ({ cluster, evil }) => ensureNamespaces(cluster, namespacesOf(evil)),
    async strike(scene) {
      const { cluster, evil } = scene;
      const namespaces = namespacesOf(evil);
      const statuses: number[] = [];
      await inParallel(expressions.entries(), async ([index, expression]) => {
        const namespace = namespaces[Math.floor(index / PER_NAMESPACE)] ?? "";
        statuses.push(
          await create(cluster, namespace, `hostile-${index}`, { targetSource: "*", expression }),
        );
      });
      const judged: string[] = [];
      for (const namespace of namespaces) {
        judged.push(await untilJudged(cluster, filtersIn(namespace), { names: "hostile" }));
      }
      const fields = Object.fromEntries(many(200, (index) => [`field.${index}`, "a".repeat(40)]));
      const answers = await Promise.all(namespaces.flatMap((namespace) =>
        many(20 * SCALE, (index) => {
          const one = alert(namespace, index);
          return post(scene, "/falco/webhook", {
            ...one,
            output_fields: { ...one.output_fields as JsonObject, ...fields },
          });
        })
      ));
      return `created: ${counted(statuses)}; alerts: ${counted(answers)}; ${
        judged.at(-1)
      } in the last namespace`;
    },
    async cleanUp({ cluster, evil }) {
      for (const namespace of namespacesOf(evil)) await cluster.expect("DELETE", filtersIn(namespace));
    },
  }, {
    name: "1,000 filters of one tenant",
    async strike({ cluster, evil, others }) {
      const spec = { targetSource: "*", expression: "!details.list.exists(x, x == 'b')" };
      await inParallel(many(1_000, (index) => index), async (index) => {
        await create(cluster, evil, `filter-${index}`, spec);
      });
      const judged = await untilJudged(cluster, filtersIn(evil), {
        names: "filter",
        without: LONG ? 0 : 900,
      });
      await others.accept(HELD_ALERTS);
      return judged;
    },
    cleanUp: async ({ cluster, evil }) => void await cluster.expect("DELETE", filtersIn(evil)),
  }, {
    name: "1,000 Ingesters",
    async strike({ cluster, others }) {
      await inParallel(many(1_000, (index) => index), async (index) => {
        await cluster.expect("POST", ingesters, { body: ingester(index) });
      });
      const judged = await untilJudged(cluster, ingesters, { names: "many", without: LONG ? 0 : 900 });
      await others.accept(HELD_ALERTS);
      return judged;
    },
    cleanUp: async ({ cluster }) => void await cluster.expect("DELETE", ingesters),
  }, {
    name: `${(1_000 * SCALE).toLocaleString("en")} planted Observations`,
    async strike({ api, cluster, evil, controller }) {
      const count = 1_000 * SCALE;
      await inParallel(many(count, (index) => index), async (index) => {
        await api.create(OBSERVATIONS, planted(evil, `${evil}-${index}`), { namespace: evil });
      });
      const { storage } = await eventually("the planted Observations to be set aside", async () => {
        const status = await (await fetch(`${controller.url}/tools/status`)).json();
        return (status.storage.notOurs ?? count) >= count && status;
      });
      await cluster.expect("DELETE", observationsIn(evil));
      return `${storage.notOurs} set aside`;
    },
  }];
}

function filter(name: string, spec: JsonObject): JsonObject {
  return { apiVersion: "zen.kube-zen.io/v1alpha1", kind: "ObservationFilter", metadata: { name }, spec };
}

function ingester(index: number): JsonObject {
  return {
    apiVersion: "zen.kube-zen.io/v1alpha1",
    kind: "Ingester",
    metadata: { name: `many-${index}` },
    spec: {
      source: `invented-${index}`,
      type: "webhook",
      webhook: { path: `/ingest/many-${index}` },
      mapping: { when: "item.text.matches('^[a-z]+$')", severity: ".severity", message: ".text" },
    },
  };
}

/** etcd goes back to a copy that is older than what is stored. */
function etcdAttack(): Attack {
  const REPORTS = 20, FOUND = 3;
  const offline = async ({ cluster }: AttackGround, change: () => Promise<void>) => {
    await cluster.killApiServer();
    await cluster.killEtcd();
    await change();
    await cluster.startEtcd();
    await cluster.startApiServer();
  };
  const foldersOf = ({ cluster }: AttackGround) =>
    [`${cluster.folder}/etcd`, `${cluster.folder}/etcd-copy`] as const;
  return {
    name: "etcd restored from a copy",
    restoresEtcd: true,
    async prepare(ground) {
      const { api, evil, controller, cluster } = ground;
      const [data, copy] = foldersOf(ground);
      // Reports that are in the copy, whose findings are not.
      Deno.kill(controller.pid, "SIGSTOP");
      try {
        await changeReports(api, { namespace: evil, reports: [0, REPORTS], found: [0, FOUND] });
        await offline(ground, () => copyFolder(data, copy));
      } finally {
        Deno.kill(controller.pid, "SIGCONT");
      }
      await untilFound(cluster, { evil, wanted: wantedFindings(REPORTS, FOUND) });
    },
    async strike(scene) {
      const [data, copy] = foldersOf(scene);
      await scene.others.accept(20);
      await offline(scene, async () => {
        await Deno.remove(data, { recursive: true });
        await Deno.rename(copy, data);
      });
      await untilFound(scene.cluster, { evil: scene.evil, wanted: wantedFindings(REPORTS, FOUND) });
      await scene.others.accept(20);
      return `${REPORTS * FOUND} findings stored again`;
    },
  };
}

async function untilFound(
  cluster: RealCluster,
  { evil, wanted }: { readonly evil: string; readonly wanted: readonly string[] },
): Promise<void> {
  await eventually(`the findings of ${evil}`, async () => {
    const found = new Set(findingsOf(await listAll(cluster, observationsIn(evil))));
    return wanted.every((finding) => found.has(finding));
  }, { timeoutMs: 180_000 });
}

async function copyFolder(from: string, to: string): Promise<void> {
  await Deno.mkdir(to);
  for await (const { name, isDirectory } of Deno.readDir(from)) {
    if (isDirectory) await copyFolder(`${from}/${name}`, `${to}/${name}`);
    else await Deno.copyFile(`${from}/${name}`, `${to}/${name}`);
  }
}

/** In the order in which they are made; the one that takes the API server away is last. */
export const ATTACKS: readonly Attack[] = [
  ...textAttacks(),
  ...connectionAttacks(),
  ...reportAttacks(),
  ...refusalAttacks(),
  ...configurationAttacks(),
  etcdAttack(),
];
