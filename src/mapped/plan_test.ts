import { assertEquals, assertMatch } from "@std/assert";
import { planContext } from "../../tests/support/examples.ts";
import { pushedPayload } from "../../tests/support/load_fixture.ts";
import { drawnFrom, feedOf, runtimeFor } from "../../tests/support/source_runtime.ts";
import type { JsonObject } from "../model/json.ts";
import type { KubeObject } from "../kube/api.ts";
import { compileFilters } from "../filters/filter.ts";
import { falco } from "../sources/falco/mod.ts";
import { objectPayload } from "../sources/feeds/pulled.ts";
import { BUILT_IN } from "../sources/registry.ts";
import { type Feed, feedId, type PostFeed, type Source } from "../sources/source.ts";
import { makePlan, type PlanContext } from "./plan.ts";
import type { SecretState } from "./secrets.ts";

interface Given {
  readonly age?: number;
  readonly namespace?: string;
  readonly generation?: number;
}

/** An Ingester of this name; a greater `age` is an older one. */
function ingester(
  name: string,
  spec: JsonObject,
  { age = 0, namespace = "zen-system", generation = 1 }: Given = {},
): KubeObject {
  return {
    kind: "Ingester",
    metadata: {
      name,
      namespace,
      uid: `uid-${name}`,
      generation,
      creationTimestamp: `2026-11-${20 - age}T00:00:00Z`,
    },
    spec,
  };
}

const pushed = (source: string, path: string, more: JsonObject = {}): JsonObject => ({
  source,
  type: "webhook",
  webhook: { path },
  mapping: {},
  ...more,
});

/** `reason: message` by name, `*` before what is ready. */
function verdicts(
  objects: readonly KubeObject[],
  context: PlanContext = planContext(),
): Record<string, string> {
  const { verdicts } = makePlan(objects, context);
  return Object.fromEntries(
    [...verdicts].map((
      [id, { ready, reason, message }],
    ) => [id.split("/")[1] ?? "", `${ready ? "*" : ""}${reason}: ${message}`]),
  );
}

/** The sources in force. */
function active(objects: readonly KubeObject[], context: PlanContext = planContext()): Source[] {
  return [...makePlan(objects, context).active.values()];
}

/** The auth of the one source in force. */
function authOf([source]: readonly Source[]) {
  const feed = source && feedOf(source);
  return feed?.type === "post" ? feed.auth : undefined;
}

Deno.test("if two Ingesters claim one source or path the older keeps it, in any order of arrival", () => {
  const objects = [
    ingester("young", pushed("tool", "/a")),
    ingester("old", pushed("tool", "/b"), { age: 2 }),
    ingester("path", pushed("other", "/b"), { age: 1 }),
    ingester("free", pushed("third", "/c")),
  ];
  for (const given of [objects, objects.toReversed()]) {
    assertEquals(verdicts(given), {
      old: "*InForce: takes what is posted to /b",
      path: 'PathTaken: the path "/b" belongs to the older Ingester zen-system/old',
      free: "*InForce: takes what is posted to /c",
      young: 'SourceTaken: the source "tool" belongs to the older Ingester zen-system/old',
    });
  }
});

Deno.test("of more than 500 objects the oldest are active, and those of untrusted namespaces do not count", () => {
  const created = (second: number) => new Date(Date.UTC(2026, 0, 1) + second * 1_000).toISOString();
  const numbered = (index: number, namespace: string) => {
    const name = `x-${String(index).padStart(3, "0")}`;
    const { metadata, ...rest } = ingester(name, pushed(`tool-${index}`, `/${name}`));
    return { ...rest, metadata: { ...metadata, namespace, creationTimestamp: created(index) } };
  };
  const foreign = Array.from({ length: 600 }, (_, index) => numbered(index, "team"));
  const own = Array.from({ length: 502 }, (_, index) => numbered(700 + index, "zen-system"));
  const plan = makePlan([...own.toReversed(), ...foreign], planContext());
  assertEquals(plan.active.size, 500);
  const exceeded = [...plan.verdicts].filter(([, { reason }]) => reason === "LimitExceeded");
  assertEquals(exceeded.map(([id]) => id), ["Ingester zen-system/x-1200", "Ingester zen-system/x-1201"]);
});

Deno.test("a disabled Ingester claims neither source nor path", () => {
  const told = verdicts([
    ingester("off", pushed("tool", "/a", { enabled: false }), { age: 1 }),
    ingester("on", pushed("tool", "/a")),
  ]);
  assertEquals(told, { off: "Disabled: spec.enabled is false", on: "*InForce: takes what is posted to /a" });
});

Deno.test("a mapping that reads what it must not is refused with the reason", () => {
  const informer = (resource: string, group = "") => ({
    source: "tool",
    type: "informer",
    informer: { group, version: "v1", resource },
    mapping: {},
  });
  const reasons = verdicts([
    ingester("secrets", informer("secrets")),
    ingester("own", informer("observations", "zen.kube-zen.io")),
    ingester("falco", pushed("falco", "/x")),
    ingester("engine", pushed("kubearmor", "/z")),
    ingester("foreign", pushed("tool", "/x"), { namespace: "team" }),
    ingester("maps", {
      source: "t",
      type: "configmap",
      configmap: { namespace: "kube-system", labelSelector: "a", key: "k" },
      mapping: {},
    }),
    ingester("route", pushed("tool", "/metrics/x")),
    ingester("unknown", { source: "tool", type: "webhook", webhook: { path: "/y" } }),
  ]);
  assertEquals(reasons, {
    secrets: "ForbiddenTarget: at spec.informer.resource: no source reads secrets",
    own:
      "ForbiddenTarget: at spec.informer.resource: no source reads the group zen.kube-zen.io: its own Observations would feed it",
    falco:
      'ReservedSource: at spec.source: "falco" is a built-in source: no mapping may produce its findings',
    engine:
      'ReservedSource: at spec.source: "kubearmor" is an engine that policy reports name (REPORT_ENGINES): ' +
      "counts, filters and budget of the two would mix",
    foreign:
      "NamespaceNotTrusted: at metadata.namespace: only zen-system and TRUSTED_CONFIG_NAMESPACES are obeyed, this is team",
    maps:
      "ForbiddenTarget: at spec.configmap.namespace: the ConfigMaps of kube-system are not this Ingester's to read: " +
      "put them in zen-system, or name the namespace in TRUSTED_CONFIG_NAMESPACES",
    route: "PathReserved: at spec.webhook.path: /metrics is zen-watcher's own",
    unknown: 'Invalid: at spec.mapping: expected a mapping, since "tool" is no built-in source ' +
      `(${[...BUILT_IN.keys()].join("|")})`,
  });
  const trusting = planContext({ trust: { ...planContext().trust, trustedNamespaces: ["team"] } });
  assertMatch(
    verdicts([ingester("foreign", pushed("tool", "/x"), { namespace: "team" })], trusting).foreign ?? "",
    /^\*InForce/,
  );
});

Deno.test("an ObservationMapping of Secrets is refused by its kind, and one of an unknown resource waits", () => {
  const mapping = (kind: string): KubeObject => ({
    kind: "ObservationMapping",
    metadata: { name: kind.toLowerCase(), namespace: "zen-system", uid: kind },
    spec: { sourceName: kind.toLowerCase(), version: "v1", kind, mappings: {} },
  });
  const context = planContext({
    served: () => ({ state: "absent", reason: "NotServed", message: "not served" }),
  });
  assertEquals(verdicts([mapping("Secret"), mapping("Widget")], context), {
    secret: "ForbiddenTarget: at spec.kind: no source reads secrets",
    widget: "NotServed: not served",
  });
});

Deno.test("a bad new version leaves the last good one active, and the condition says so", () => {
  const good = makePlan([ingester("x", pushed("tool", "/a"))], planContext()).good;
  const bad = ingester("x", pushed("tool", "/a", { mapping: { message: ".a[" } }), { generation: 2 });
  const plan = makePlan([bad], planContext({ lastGood: good }));
  assertEquals([...plan.active.values()].map((source) => feedId(feedOf(source))), [
    "Ingester zen-system/x uid-x/1/",
  ]);
  assertEquals(plan.verdicts.get("Ingester zen-system/x"), {
    ready: false,
    reason: "Invalid",
    message:
      'at spec.mapping.message: expected [0], ["key"] or [*] at "[" in ".a["; generation 1 stays in force',
  });
  assertEquals(active([bad]), []);
  const off = ingester("x", pushed("tool", "/a", { enabled: false }), { generation: 3 });
  assertEquals(active([off], planContext({ lastGood: good })), []);
  const another = { ...bad, metadata: { ...bad.metadata, uid: "another" } };
  assertEquals(active([another], planContext({ lastGood: good })), []);
  assertEquals(makePlan([], planContext({ lastGood: good })).good.size, 0);
});

Deno.test("an Ingester without a mapping adds a feed to a built-in source, which keeps its own draw", () => {
  const door = ingester("door", { source: "falco", type: "webhook", webhook: { path: "/ingest/falco" } });
  const twin = ingester("twin", {
    source: "falco",
    type: "webhook",
    webhook: { path: "/ingest/falco2" },
    window: "5m",
  });
  const sources = active([door, twin]);
  assertEquals(sources.map(({ name, kind }) => [name, kind]), [["falco", "occurrence"], [
    "falco",
    "occurrence",
  ]]);
  const [first, second] = sources.map(feedOf);
  const { ackTimeout, unreadableHint } = feedOf(falco) as PostFeed;
  assertEquals(first, {
    type: "post",
    path: "/ingest/falco",
    waiting: 600,
    ...(ackTimeout && { ackTimeout }),
    ...(unreadableHint && { unreadableHint }),
    auth: { type: "default" },
    ingester: { id: "Ingester zen-system/door", revision: "uid-door/1/", isDoor: true },
  });
  assertEquals(second?.ingester?.windowSeconds, 300);
  const payload = { body: { rule: "R" }, origin: { confined: false }, receivedAt: 0 };
  assertEquals(sources.map((source) => drawnFrom(source, payload).length), [1, 1]);
  assertMatch(
    verdicts([{ ...door, spec: { ...(door.spec as JsonObject), kind: "finding" } }]).door ?? "",
    /at spec.kind: expected occurrence/,
  );
});

Deno.test("a webhook without its Secret stays closed and says why", () => {
  const object = ingester(
    "x",
    pushed("tool", "/a", { webhook: { path: "/a", auth: { type: "bearer", secretName: "s" } } }),
  );
  let state: SecretState = {
    problem: { reason: "SecretMissing", message: 'there is no Secret "zen-system/s"' },
  };
  const plan = makePlan([object], planContext({ secret: () => state }));
  const auth = authOf([...plan.active.values()]);
  if (auth?.type !== "bearer") throw new Error("expected bearer");
  assertEquals(auth.secret(), undefined);
  assertEquals(plan.verdicts.get("Ingester zen-system/x")?.reason, "SecretMissing");
  state = { token: "hunter2hunter2" };
  assertEquals(auth.secret(), "hunter2hunter2");
  state = { ...state, problem: { reason: "SecretInvalid", message: "it has white space inside" } };
  const kept = makePlan([object], planContext({ secret: () => state }));
  assertEquals(kept.verdicts.get("Ingester zen-system/x")?.reason, "SecretInvalid");
  assertEquals(kept.active.size, 1);
});

Deno.test("a webhook without auth requires the settings' token, and only auth none opens it", () => {
  const auth = (webhook: JsonObject) => authOf(active([ingester("x", pushed("tool", "/a", { webhook }))]));
  assertEquals(auth({ path: "/a" }), { type: "default" });
  assertEquals(auth({ path: "/a", auth: { type: "none" } }), { type: "none" });
});

Deno.test("objectPayload() confines objects to their namespace, except Kubernetes Events", () => {
  const confined = (apiVersion: string, kind: string) =>
    objectPayload({ apiVersion, kind, metadata: { namespace: "shop", name: "x" } }, 0).origin.confined;
  assertEquals(confined("cert-manager.io/v1", "Certificate"), true);
  assertEquals(confined("v1", "Event"), false);
  assertEquals(confined("events.k8s.io/v1", "Event"), false);
  assertEquals(confined("example.com/v1", "Event"), true);
});

Deno.test("the filter of an Ingester that feeds a built-in source applies to that feed only", () => {
  const spec = {
    source: "falco",
    type: "webhook",
    webhook: { path: "/x" },
    filters: { minSeverity: "HIGH" },
  };
  const [door] = active([ingester("door", spec)]);
  const document = door && feedOf(door).ingester?.filter;
  if (!document) throw new Error("expected a filter");
  const filter = compileFilters([document]);
  const payload = pushedPayload({ rule: "R", priority: "Notice" });
  const passes = (feed: Feed) => {
    const runtime = runtimeFor(falco, feed);
    return [...runtime.draw(payload)].map((drawn) =>
      "event" in drawn && filter.evaluate(runtime.normalize(drawn.event, payload)).pass
    );
  };
  assertEquals(passes(feedOf(door)), [false]);
  assertEquals(passes(feedOf(falco)), [true]);
  const limited =
    verdicts([ingester("door", { ...spec, rateLimit: { requestsPerSecond: 1, burst: 1 } })]).door ?? "";
  assertMatch(
    limited,
    /at spec.rateLimit: expected nothing: an Ingester that feeds the built-in source falco shares its rate/,
  );
});
