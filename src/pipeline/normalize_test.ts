import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { EVENT_SETTINGS } from "../../tests/support/source_runtime.ts";
import type { DrawnEvent, EventFeed, Origin } from "../model/event.ts";
import { isClusterScoped, observationName, sha256 } from "../model/identity.ts";
import { ANNOTATIONS, LABELS } from "../model/observation.ts";
import { observationSchema } from "../model/observation_schema.ts";
import { jsonBytes } from "../text/clean.ts";
import {
  confine,
  contentHashOf,
  type EventSettings,
  normalize,
  type NormalizeOptions,
  severityOf,
  toObservation,
} from "./normalize.ts";

const RECEIPT = Date.UTC(2026, 0, 2, 3, 4, 5);
const HOUR = 3_600_000;

const SOURCE = { name: "trivy", kind: "finding", volatileDetails: ["score"] } as const;
const OPTIONS: NormalizeOptions = { source: SOURCE, feed: { type: "watch" }, settings: EVENT_SETTINGS };

const DRAWN: DrawnEvent = {
  category: "security",
  severity: "High",
  eventType: "vulnerability",
  message: "CVE-2024-0001 in openssl",
  rules: ["CVE-2024-0001"],
  resource: { apiVersion: "apps/v1", kind: "Deployment", name: "web", namespace: "shop" },
  details: { vulnerabilityID: "CVE-2024-0001", package: "openssl", score: 7.5 },
  detectedAt: "2026-01-02T03:00:00.123456789Z",
  identity: { vulnerabilityID: "CVE-2024-0001", package: "openssl" },
};

const REPORT: Origin = { namespace: "shop", name: "report", confined: true };
const PUSHED: Origin = { confined: false };

interface Given {
  readonly origin?: Origin;
  readonly receivedAt?: number;
  readonly source?: Partial<NormalizeOptions["source"]>;
  readonly ingester?: Partial<NonNullable<EventFeed["ingester"]>>;
  readonly settings?: Partial<EventSettings>;
}

function normal(
  change: Partial<DrawnEvent> = {},
  { origin = REPORT, receivedAt = RECEIPT, source, ingester, settings }: Given = {},
) {
  return normalize({ ...DRAWN, ...change }, { origin, receivedAt }, {
    source: { ...SOURCE, ...source },
    feed: { type: "watch", ...(ingester && { ingester: { id: "Ingester zen-system/x", ...ingester } }) },
    settings: { ...EVENT_SETTINGS, ...settings },
  });
}

function stored(change: Partial<DrawnEvent> = {}, generation = 0) {
  return toObservation(normal(change), generation, { instance: "default", eventId: "e-1" });
}

Deno.test("normalize() makes the event that is stored", () => {
  const event = normal();
  const hashed = '{"identity":{"package":"openssl","vulnerabilityID":"CVE-2024-0001"},"namespace":"shop",' +
    '"severity":"HIGH","source":"trivy","v":1}';
  const identity = '{"identity":{"package":"openssl","vulnerabilityID":"CVE-2024-0001"},"severity":"HIGH",' +
    '"source":"trivy"}';
  assertEquals(event, {
    source: "trivy",
    kind: "finding",
    category: "security",
    severity: "HIGH",
    eventType: "vulnerability",
    message: "CVE-2024-0001 in openssl",
    resource: { apiVersion: "apps/v1", kind: "Deployment", name: "web", namespace: "shop" },
    details: { vulnerabilityID: "CVE-2024-0001", package: "openssl", score: 7.5 },
    detectedAt: "2026-01-02T03:00:00.123456789Z",
    rule: "CVE-2024-0001",
    rules: ["CVE-2024-0001"],
    fingerprint: sha256(hashed),
    identity,
    at: Date.UTC(2026, 0, 2, 3, 0, 0, 123),
    receivedAt: RECEIPT,
    namespace: "shop",
    ttlSeconds: 604_800,
    windowMs: 60_000,
    countRepeats: true,
    contentHash: event.contentHash,
    resolved: false,
  });
});

Deno.test("normalize() fingerprints identity, severity, source and a report's namespace, nothing else", () => {
  const { fingerprint } = normal();
  const same: [string, ReturnType<typeof normal>][] = [
    ["key order", normal({ identity: { package: "openssl", vulnerabilityID: "CVE-2024-0001" } })],
    ["the case of severity", normal({ severity: "HIGH" })],
    ["message and details", normal({ message: "other", details: {} })],
    ["time", normal({ detectedAt: "2026-01-02T01:00:00Z" })],
    ["receipt", normal({}, { receivedAt: RECEIPT + HOUR })],
  ];
  for (const [what, event] of same) assertEquals(event.fingerprint, fingerprint, what);
  const different: [string, ReturnType<typeof normal>][] = [
    ["identity", normal({ identity: { package: "zlib", vulnerabilityID: "CVE-2024-0001" } })],
    ["severity", normal({ severity: "low" })],
    ["source", normal({ source: "grype" })],
    ["another namespace's report", normal({}, { origin: { ...REPORT, namespace: "bank" } })],
  ];
  for (const [what, event] of different) assertNotEquals(event.fingerprint, fingerprint, what);
});

Deno.test("a finding is the same through every door, and a forged one is never another namespace's", () => {
  const identity = { check: "KSV001", resource: { kind: "Pod", name: "db", namespace: "bank" } };
  const bank = normal({ identity }, { origin: { namespace: "bank", confined: true } });
  assertEquals(normal({ identity }, { origin: PUSHED }).fingerprint, bank.fingerprint);
  assertNotEquals(normal({ identity }, { origin: REPORT }).fingerprint, bank.fingerprint);
});

Deno.test("normalize() masks no prose, and what is not said to be prose", () => {
  const text = "Set password: hunter2 in\u001b[31m --token=abc";
  const drawn = {
    message: text,
    details: { title: text, list: [text], cmdline: text, deep: { title: text } },
  };
  const masked = "Set password: *** in --token=***";
  const said = masked.replace("***", "hunter2").replace("***", "abc");
  const event = normal({ ...drawn, prose: ["message", "title", "list"] });
  assertEquals([event.message, event.details], [
    said,
    { title: said, list: [said], cmdline: masked, deep: { title: masked } },
  ]);
  assertEquals([normal(drawn).message, normal(drawn).details.title], [masked, masked]);
  assertEquals(normal(drawn).fingerprint, event.fingerprint);
});

Deno.test("normalize() cleans, masks and cuts every string", () => {
  const event = normal({
    message: `\u001b[31mlogin\u202e --password=hunter2 ${"x".repeat(3000)}`,
    resource: { kind: "Pod\u0000", name: "x".repeat(300), namespace: "shop" },
    rules: ["a\u200bb", "", "c"],
    details: {
      "k\u0007ey": "a\nb",
      cmdline: ["mysql -phunter2"],
      primaryLink: "javascript:alert(1)",
      note: "data:text/html,<b>",
      nothing: null,
      "\u200b": "no key",
    },
    identity: { cmdline: "mysql -phunter2" },
  });
  assert(event.message.startsWith("login --password=*** xxx") && event.message.length === 1024);
  assertEquals(event.resource, { kind: "Pod", name: "x".repeat(253), namespace: "shop" });
  assertEquals(event.rules, ["ab", "c"]);
  assertEquals(event.details, {
    key: "a b",
    cmdline: ["mysql -p***"],
    note: "data:text/html,<b>",
    truncated: true,
  });
  assert(event.identity.includes("mysql -p***") && !event.identity.includes("hunter2"));
});

Deno.test("normalize() keeps details within 8 KiB and says when it cut them", () => {
  const cases = [
    { output: "€".repeat(8000) },
    { list: Array.from({ length: 9000 }, (_, index) => ({ index })) },
    { score: "9".repeat(5000), output: "x".repeat(7000) },
    Object.fromEntries(Array.from({ length: 20_000 }, (_, index) => [`key${index}`, index])),
    JSON.parse('{"a":'.repeat(100) + "1" + "}".repeat(100)),
  ];
  for (const details of cases) {
    const event = normal({ details });
    assert(jsonBytes(event.details) <= 8192, `${jsonBytes(event.details)} bytes`);
    assertEquals(event.details.truncated, true);
  }
  assertEquals(normal({ details: { output: "x".repeat(7000) } }).details, { output: "x".repeat(7000) });
});

Deno.test("normalize() believes a time from 2000 to five minutes after receipt, and keeps what it does not", () => {
  assertEquals(normal({ detectedAt: RECEIPT + 300_000 }).detectedAt, "2026-01-02T03:09:05.000Z");
  const doubted: [string | number, string][] = [
    ["1999-12-31T23:59:59Z", "1999-12-31T23:59:59Z"],
    ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"],
    ["yester\u0007day", "yesterday"],
    [RECEIPT + 300_001, String(RECEIPT + 300_001)],
  ];
  for (const [detectedAt, claimedDetectedAt] of doubted) {
    const event = normal({ detectedAt, details: {} });
    assertEquals(event.detectedAt, "2026-01-02T03:04:05.000Z");
    assertEquals(event.details, { claimedDetectedAt });
    assertEquals(event.contentHash, normal({ details: {} }).contentHash, "a time is no change");
  }
  const { detectedAt: _, ...timeless } = DRAWN;
  const event = normalize(timeless, { origin: PUSHED, receivedAt: RECEIPT }, OPTIONS);
  assertEquals([event.detectedAt, event.at], ["2026-01-02T03:04:05.000Z", RECEIPT]);
  assertEquals(event.details.claimedDetectedAt, undefined);
});

Deno.test("normalize() reckons windows by the event's own time within [receipt - 1 h, receipt + 6 min]", () => {
  for (const own of [RECEIPT - HOUR, RECEIPT + 360_000]) assertEquals(normal({ detectedAt: own }).at, own);
  for (const own of [RECEIPT - HOUR - 1, RECEIPT + 360_001]) {
    assertEquals(normal({ detectedAt: own }).at, RECEIPT);
  }
});

Deno.test("a namespaced report speaks of its namespace alone", () => {
  const foreign = [
    { kind: "Pod", name: "db", namespace: "bank" },
    { kind: "Namespace", name: "kube-system" },
    { kind: "Node", name: "node-1" },
  ];
  for (const resource of foreign) {
    const event = normal({ resource });
    assertEquals(event.resource, { namespace: "shop" });
    assertEquals(event.details.claimedResource, resource);
    assertEquals(event.namespace, "shop");
  }
  const own = normal({ resource: { kind: "Pod", name: "web" } });
  assertEquals(own.resource, { kind: "Pod", name: "web", namespace: "shop" });
  assertEquals(own.details.claimedResource, undefined);
  const { resource: _, ...bare } = DRAWN;
  const event = normalize(bare, { origin: REPORT, receivedAt: RECEIPT }, OPTIONS);
  assertEquals([event.resource, event.namespace], [{ namespace: "shop" }, "shop"]);
});

Deno.test("others speak of any resource and land in its namespace, else in ours", () => {
  const resource = { kind: "Pod", name: "db", namespace: "bank" };
  for (const origin of [PUSHED, { namespace: "", confined: true }, { namespace: "shop", confined: false }]) {
    const event = normal({ resource }, { origin });
    assertEquals([event.resource, event.namespace], [resource, "bank"]);
    assertEquals(normal({ resource: { kind: "Node", name: "n" } }, { origin }).namespace, "zen-system");
    assertEquals(normal({ resource: { namespace: "../x" } }, { origin }).namespace, "zen-system");
  }
  assertEquals(normal({ resource }, { settings: { observationNamespace: "audit" } }).namespace, "audit");
});

Deno.test("normalize() passes on a mapper's verdict, a resolution and its own time to live, within bounds", () => {
  assertEquals(normal({ drop: "not_relevant" }).drop, "not_relevant");
  assertEquals(normal({ resolved: true }).resolved, true);
  assertEquals(normal({ ttlSeconds: 60 }).ttlSeconds, 60);
  assertEquals(normal({ ttlSeconds: 1e12 }).ttlSeconds, 31_536_000);
  assertEquals(normal({ ttlSeconds: -1 }).ttlSeconds, 1);
});

Deno.test("normalize() takes window and time to live from the event, else its Ingester, else the settings", () => {
  const settings = { dedupWindowBySource: new Map([["trivy", 30]]), observationTtlSeconds: 100 };
  const of = ({ windowMs, ttlSeconds, countRepeats }: ReturnType<typeof normal>) =>
    [windowMs, ttlSeconds, countRepeats] as const;
  assertEquals(of(normal()), [60_000, 604_800, true]);
  assertEquals(of(normal({}, { settings })), [30_000, 100, true]);
  assertEquals(of(normal({}, { settings: { dedupEnableAggregation: false } })), [60_000, 604_800, false]);
  const ingester = { windowSeconds: 5, ttlSeconds: 7 };
  assertEquals(of(normal({}, { settings, ingester })), [5_000, 7, true]);
  assertEquals(of(normal({ windowMs: 3_600_000, ttlSeconds: 9 }, { ingester })), [3_600_000, 9, true]);
  assertEquals(of(normal({ windowMs: Infinity })), [Infinity, 604_800, false]);
});

Deno.test("normalize() names the door of an event, and no Ingester that has a source of its own", () => {
  assertEquals(normal({}, { ingester: { isDoor: true } }).door, "Ingester zen-system/x");
  assertEquals(normal({}, { ingester: {} }).door, undefined);
});

Deno.test("normalize() judges severity by the source's own words first", () => {
  assertEquals(
    normal({ severity: "Error" }, { source: { severities: { error: "CRITICAL" } } }).severity,
    "CRITICAL",
  );
  assertEquals(normal({ severity: null }).severity, "UNKNOWN");
});

Deno.test("the content hash moves with message and lasting details, not with a score that flaps", () => {
  const { contentHash } = normal();
  const details = { ...DRAWN.details, score: 9.1 };
  assertEquals(normal({ details }).contentHash, contentHash);
  assertNotEquals(normal({ message: "fixed in 3.0.2" }).contentHash, contentHash);
  assertNotEquals(normal({ details: { ...details, fixedVersion: "3.0.2" } }).contentHash, contentHash);
  const long = { output: "x".repeat(9000), score: 1 };
  assertEquals(
    normal({ details: { ...long, score: "1234567890" } }).contentHash,
    normal({ details: long }).contentHash,
    "a longer score moves no cut",
  );
});

Deno.test("contentHashOf() a stored object is the content hash of its event", () => {
  const changes: Partial<DrawnEvent>[] = [
    {},
    { details: {} },
    { detectedAt: "never", details: { score: 1 } },
    { details: { truncated: true, list: [1, null, { deep: [1.5e300, -0] }], text: "é😀" } },
    { details: { output: "x".repeat(20_000) } },
    { resource: { kind: "Pod", name: "x", namespace: "bank" } },
  ];
  for (const change of changes) {
    const object = JSON.parse(JSON.stringify(stored(change)));
    assertEquals(contentHashOf(object, SOURCE.volatileDetails), normal(change).contentHash);
  }
});

Deno.test("an occurrence has no content hash, drawn or stored: its content is not replaced", () => {
  const event = normal({}, { source: { kind: "occurrence" } });
  const object = toObservation(event, 1, { instance: "default", eventId: "e-1" });
  assertEquals([event.contentHash, contentHashOf(object, SOURCE.volatileDetails)], [0, 0]);
});

Deno.test("toObservation() names, labels and annotates the object", () => {
  const event = normal();
  const object = stored();
  assertEquals(object, {
    apiVersion: "zen.kube-zen.io/v1",
    kind: "Observation",
    metadata: {
      name: observationName("trivy", event.fingerprint, 0),
      namespace: "shop",
      labels: {
        "app.kubernetes.io/managed-by": "zen-watcher",
        [LABELS.source]: "trivy",
        [LABELS.severity]: "HIGH",
        [LABELS.category]: "security",
        [LABELS.eventType]: "vulnerability",
        [LABELS.kind]: "finding",
        [LABELS.rule]: "CVE-2024-0001",
        [LABELS.workload]: "web",
        [LABELS.fingerprint]: event.fingerprint.slice(0, 32),
        [LABELS.instance]: "default",
      },
      annotations: {
        [ANNOTATIONS.fingerprint]: event.fingerprint,
        [ANNOTATIONS.identity]: event.identity,
        [ANNOTATIONS.eventId]: "e-1",
      },
    },
    spec: {
      source: "trivy",
      category: "security",
      severity: "HIGH",
      eventType: "vulnerability",
      rule: "CVE-2024-0001",
      message: "CVE-2024-0001 in openssl",
      resource: { apiVersion: "apps/v1", kind: "Deployment", name: "web", namespace: "shop" },
      details: { vulnerabilityID: "CVE-2024-0001", package: "openssl", score: 7.5 },
      detectedAt: "2026-01-02T03:00:00.123456789Z",
      ttlSecondsAfterCreation: 604_800,
    },
  });
  assert(observationSchema.safeParse(object).success);
  assert(stored({}, 3).metadata.name?.endsWith("-3"));
  const moved = toObservation(event, 0, { instance: "a b", eventId: "e", namespace: "zen-system" });
  assertEquals(moved.metadata.namespace, "zen-system");
});

Deno.test("normalize() reckons an act kept in an object by its own time, however late it is read", () => {
  const occurrence = { source: { kind: "occurrence" as const } };
  const detectedAt = new Date(RECEIPT - 5 * HOUR).toISOString();
  assertEquals(normal({ detectedAt }, occurrence).at, RECEIPT - 5 * HOUR);
  assertEquals(normal({ detectedAt }, { ...occurrence, origin: PUSHED }).at, RECEIPT);
  assertEquals(normal({ detectedAt: "no time" }, occurrence).at, RECEIPT);
});

const CONFINED = { namespace: "shop", name: "report", confined: true };

Deno.test("confine() lets a namespace's report claim no cluster-scoped resource, in whatever case its kind is", () => {
  const kinds = ["Node", "FlowSchema", "flowschema", "ServiceCIDR", "ResourceSlice", "VolumeAttributesClass"];
  for (const kind of [...kinds, "MutatingAdmissionPolicyBinding", "PriorityLevelConfiguration"]) {
    const resource = { kind, name: "x" };
    assertEquals(isClusterScoped(kind), true, kind);
    assertEquals(
      confine(resource, CONFINED),
      { resource: { namespace: "shop" }, claimed: resource, namespace: "shop" },
      kind,
    );
  }
});

Deno.test("confine() lets a namespace's report name its own namespace, and kinds that are namespaced somewhere", () => {
  for (const resource of [{ kind: "Namespace", name: "shop" }, { kind: "IPAddress", name: "x" }]) {
    assertEquals(confine(resource, CONFINED).resource, { ...resource, namespace: "shop" });
  }
  assertEquals(confine({ kind: "Namespace", name: "bank" }, CONFINED).resource, { namespace: "shop" });
});

Deno.test("normalize() hashes a finding's own words: neither masked nor cut, white space and control characters folded", () => {
  const of = (text: string) => normal({ identity: { text } }).fingerprint;
  assertEquals(of("password=hunter2") === of("password=hunter3"), false);
  assertEquals(of(`${"x".repeat(9_000)}a`) === of(`${"x".repeat(9_000)}b`), false);
  assertEquals(of(" a\tb\u0007 c "), of("a b c"));
  assertEquals(of("a\ud800"), of("a\ufffd"));
});

Deno.test("normalize() shows in the identity annotation nothing that the Observation shows nowhere else", () => {
  const event = normal({
    identity: {
      seen: "openssl",
      hidden: "not in details",
      secret: "--password=hunter2",
      at: { rule: "CVE-2024-0001" },
    },
    details: { package: "openssl", command: "--password=hunter2" },
  });
  assertEquals(
    event.identity,
    '{"identity":{"at":{"rule":"CVE-2024-0001"},"hidden":"…","secret":"--password=***","seen":"openssl"},' +
      '"severity":"HIGH","source":"trivy"}',
  );
});

Deno.test("severityOf() knows every word of the table in any case", () => {
  const table = {
    CRITICAL: "critical fatal emergency alert",
    HIGH: "high error danger important",
    MEDIUM: "medium moderate warning warn",
    LOW: "low info informational notice negligible debug none",
    UNKNOWN: "unknown severe constructor __proto__ 7",
  };
  for (const [severity, words] of Object.entries(table)) {
    for (const word of words.split(" ")) {
      for (const form of [word, word.toUpperCase(), ` ${word[0]?.toUpperCase()}${word.slice(1)} `]) {
        assertEquals(severityOf(form), severity, form);
      }
    }
  }
  for (const none of [null, undefined, ""]) assertEquals(severityOf(none), "UNKNOWN");
});

Deno.test("severityOf() puts a source's own table above the general one", () => {
  assertEquals(severityOf("Error", { error: "LOW" }), "LOW");
  assertEquals(severityOf("high", { error: "LOW" }), "HIGH");
  assertEquals(severityOf("toString", {}), "UNKNOWN");
  // `*` is for words that neither table has.
  assertEquals(severityOf("odd", { "*": "HIGH", error: "LOW" }), "HIGH");
  assertEquals(severityOf("error", { "*": "HIGH", error: "LOW" }), "LOW");
  assertEquals(severityOf("info", { "*": "HIGH" }), "LOW");
  assertEquals(severityOf(null, { "*": "HIGH" }), "UNKNOWN");
});
