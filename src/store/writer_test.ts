import { assert, assertEquals } from "@std/assert";
import { ApiError, NetworkError, type ObjectMeta } from "../kube/api.ts";
import { ANNOTATIONS, LABELS } from "../model/observation.ts";
import { refusalOf } from "./refusal.ts";
import { apiError, type FakeCall, FakeKube } from "../../tests/support/fake_kube.ts";
import { storedObservation } from "../../tests/support/observation.ts";
import { Replica, type ReplicaOptions } from "../../tests/support/replica.ts";
import { VirtualTime } from "../../tests/support/virtual_time.ts";

async function withReplica(
  test: (it: { time: VirtualTime; kube: FakeKube; replica: Replica }) => Promise<void>,
  options: Partial<ReplicaOptions> = {},
): Promise<void> {
  const time = new VirtualTime();
  const kube = new FakeKube(() => time.now());
  const replica = new Replica(kube, { time, ...options });
  try {
    await test({ time, kube, replica });
  } finally {
    await replica.kill();
  }
}

const ALERT = { identity: { rule: "Terminal shell in container" } };
const IN_PROD = { ...ALERT, resource: { kind: "Pod", name: "web-0", namespace: "prod" } };

/** The first `times` creates fail so. */
function failing(times: number, error: () => Error) {
  return {
    before: ({ verb }: FakeCall) => {
      if (verb === "create" && times-- > 0) throw error();
    },
  };
}

async function createErrors(replica: Replica): Promise<Record<string, number>> {
  const { values } = await replica.metrics.observationsCreateErrors.get();
  return Object.fromEntries(values.map(({ labels, value }) => [`${labels.reason}`, value]));
}

function how(replica: Replica): string[] {
  return replica.books.map(({ outcomes }) => outcomes.map((outcome) => JSON.stringify(outcome)).join());
}

const TRANSIENT: readonly (readonly [string, () => Error])[] = [
  ["throttled", () => apiError("create", 429, "TooManyRequests")],
  ["server_error", () => apiError("create", 500, "InternalError")],
  ["server_error", () => apiError("create", 503, "ServiceUnavailable")],
  ["network", () => new NetworkError("reset")],
  ["conflict", () => apiError("create", 409, "Conflict", { message: "resourcequotas was modified" })],
  ["quota", () => apiError("create", 403, "Forbidden", { message: "exceeded quota: small" })],
];

for (const [label, error] of TRANSIENT) {
  Deno.test(`writer tries again after ${label} (${error().message}) until it is stored`, () =>
    withReplica(async ({ time, kube, replica }) => {
      kube.script = failing(3, error);
      const taken = replica.take([ALERT]);
      await time.advance(20_000);
      assertEquals((await taken).created, 1);
      assertEquals(await createErrors(replica), { [label]: 3 });
    }));
}

const FINAL: readonly (readonly [string, string, Error])[] = [
  ["invalid", "invalid", apiError("create", 422, "Invalid", { message: "spec.severity: Unsupported value" })],
  ["invalid", "invalid", apiError("create", 400, "BadRequest")],
  ["too_large", "too_large", apiError("create", 413, "RequestEntityTooLarge")],
  ["too_large", "too_large", apiError("create", 500, "", { message: "etcdserver: request is too large" })],
  ["unavailable", "forbidden", apiError("create", 403, "Forbidden", { message: "User cannot create" })],
  [
    "unavailable",
    "forbidden",
    apiError("create", 403, "Forbidden", {
      message: 'observations.zen.kube-zen.io is forbidden: User "a" cannot create resource "observations"',
    }),
  ],
  [
    "unavailable",
    "not_served",
    apiError("create", 404, "NotFound", { message: "could not find the resource" }),
  ],
  [
    "unavailable",
    "admission",
    apiError("create", 403, "Forbidden", { message: 'admission webhook "a" denied the request: no' }),
  ],
  [
    "unavailable",
    "admission",
    apiError("create", 422, "Invalid", {
      message: "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
    }),
  ],
];

for (const [reason, label, error] of FINAL) {
  Deno.test(`writer sends one request: ${error.message} → failed{${reason}}`, () =>
    withReplica(async ({ kube, replica }) => {
      kube.script = failing(1, () => error);
      const { byReason } = await replica.take([ALERT]);
      assertEquals(byReason.failed, { [reason]: 1 });
      assertEquals(await createErrors(replica), { [label]: 1 });
      assertEquals(kube.count("create"), 1);
    }));
}

Deno.test("writer waits as long as Retry-After asks", () =>
  withReplica(async ({ time, kube, replica }) => {
    kube.script = failing(1, () => new ApiError("create", 429, { reason: "TooManyRequests" }, 7_000));
    const taken = replica.take([ALERT]);
    await time.advance(6_900);
    assertEquals(kube.count("create"), 1);
    await time.advance(1_000);
    assertEquals((await taken).created, 1);
  }));

Deno.test("a pushed event is tried until its deadline: failed{unavailable}, and nothing is stored", () =>
  withReplica(async ({ time, kube, replica }) => {
    kube.script = failing(
      Infinity,
      () => apiError("create", 403, "Forbidden", { message: "exceeded quota: small" }),
    );
    const deadline = new AbortController();
    const taken = replica.take([ALERT, ALERT], { signal: deadline.signal });
    await time.advance(60_000);
    deadline.abort();
    const { byReason, undecided } = await taken;
    assertEquals([byReason.failed, undecided], [{ unavailable: 2 }, 2]);
    assertEquals([replica.dedup.inFlight, replica.dedup.usage(), replica.index.size], [0, 0, 0]);
    kube.script = {};
    assertEquals((await replica.take([ALERT])).created, 1);
  }));

Deno.test("a pulled event is given up after some attempts at a full quota, so that its source continues", () =>
  withReplica(async ({ time, kube, replica }) => {
    kube.script = failing(
      Infinity,
      () => apiError("create", 403, "Forbidden", { message: "exceeded quota: small" }),
    );
    const taken = replica.take([ALERT], { pushed: false });
    await time.advance(30_000);
    assertEquals((await taken).byReason.failed, { unavailable: 1 });
  }));

Deno.test("a pulled event is given up after repeated server errors, so that its source continues", () =>
  withReplica(async ({ time, kube, replica }) => {
    kube.script = failing(Infinity, () => apiError("create", 500, "InternalError"));
    const taken = replica.take([ALERT], { pushed: false });
    await time.advance(180_000);
    assertEquals((await taken).byReason.failed, { unavailable: 1 });
    kube.script = {};
    assertEquals((await replica.take([ALERT], { pushed: false })).created, 1);
  }));

for (const gone of ["missingNamespaces", "terminatingNamespaces"] as const) {
  Deno.test(`an Observation whose namespace is among ${gone} is stored in the controller's namespace, and a repeat finds it there`, () =>
    withReplica(async ({ time, kube, replica }) => {
      kube[gone].add("prod");
      assertEquals((await replica.take([IN_PROD])).created, 1);
      assertEquals(kube.stored.map(({ metadata }) => metadata.namespace), ["zen-system"]);
      assertEquals((await replica.take([IN_PROD])).deduped, 1);
      await time.advance(10 * 60_000);
      kube[gone].clear();
      assertEquals((await replica.take([IN_PROD])).created, 1);
      assertEquals(kube.stored.map(({ metadata }) => metadata.name?.slice(-2)), ["-2", "-1"]);
    }));
}

Deno.test("an Observation whose namespace and the controller's are both gone: failed{unavailable}", () =>
  withReplica(async ({ kube, replica }) => {
    kube.missingNamespaces.add("prod").add("zen-system");
    assertEquals((await replica.take([IN_PROD])).byReason.failed, { unavailable: 1 });
    assertEquals(kube.count("create"), 2);
  }));

Deno.test("writer reads the newest generation once before it opens the next one", () =>
  withReplica(async ({ time, kube, replica }) => {
    await replica.take([ALERT]);
    // Another replica flushes, and this one's watch is late.
    replica.lagging = true;
    const [first] = kube.stored;
    await time.advance(100_000);
    kube.put({
      ...first!,
      status: { ...first?.status, lastSeenAt: new Date(time.now() - 10_000).toISOString() },
    });
    assertEquals((await replica.take([ALERT])).deduped, 1);
    assertEquals([kube.count("get"), kube.count("create")], [1, 1]);
  }));

Deno.test("a window evicted from the cache costs a request, and nothing is stored twice", () =>
  withReplica(async ({ time, kube, replica }) => {
    await replica.take([ALERT]);
    await time.advance(50_000);
    await replica.take([ALERT]);
    await replica.take([{ identity: { rule: "evicts it" } }]);
    assertEquals((await replica.metrics.dedupEvictions.get()).values.map(({ value }) => value), [1]);
    await time.advance(1_000);
    replica.lagging = true;
    // The index still says 0:00, the repeat of 0:50 waits to be flushed: at 1:40 the window is open.
    await time.advance(1_000);
    const writesBefore = kube.count("create");
    await time.advance(45_000);
    await replica.take([ALERT]);
    assertEquals([kube.count("create") - writesBefore, kube.stored.length], [0, 2]);
  }, { maxSize: 1 }));

Deno.test("a generation that is gone when it is read is not counted on", () =>
  withReplica(async ({ time, kube, replica }) => {
    for (let generation = 1; generation <= 2; generation++) {
      await replica.take([ALERT]);
      await time.advance(600_000);
    }
    replica.lagging = true;
    kube.remove("zen-system", kube.stored[1]?.metadata.name ?? "");
    await replica.take([ALERT]);
    assertEquals(kube.stored.map(({ metadata }) => metadata.name?.slice(-2)), ["-1", "-2"]);
    assertEquals(how(replica), Array(3).fill('{"kind":"created"}'));
  }));

Deno.test("writer returns outcomes for errors of the client and does not throw them", () =>
  withReplica(async ({ kube, replica }) => {
    kube.script = failing(1, () => new TypeError("a defect"));
    const { byReason } = await replica.take([ALERT]);
    assertEquals(byReason.failed, { internal: 1 });
  }));

Deno.test("every refusal has a label of the closed list", () => {
  for (const status of [400, 401, 403, 404, 405, 409, 410, 413, 415, 422, 429, 500, 502, 503, 504]) {
    const refusal = refusalOf(new ApiError("create", status, {}));
    assert(refusal.label.length > 0, `${status}`);
  }
});

/** What an answer to a create may differ in from the object that was sent. */
const MIX_UPS: readonly (readonly [string, (sent: ObjectMeta) => ObjectMeta])[] = [
  ["name", (sent) => ({ ...sent, name: "falco-0123456789abcdef0123456789abcdef-1" })],
  ["namespace", (sent) => ({ ...sent, namespace: "another" })],
  [
    "event id",
    (sent) => ({ ...sent, annotations: { ...sent.annotations, [ANNOTATIONS.eventId]: "another" } }),
  ],
];

for (const [what, change] of MIX_UPS) {
  for (const isCarriedOut of [true, false]) {
    const title = `writer does not believe an answer of another ${what}`;
    Deno.test(`${title}, when its create was ${isCarriedOut ? "" : "not "}carried out`, () =>
      withReplica(async ({ time, kube, replica }) => {
        await replica.take([ALERT]);
        const [sent] = kube.stored;
        if (!sent) throw new Error("nothing is stored");
        kube.remove(sent.metadata.namespace ?? "", sent.metadata.name ?? "");
        const answer = { ...sent, metadata: { ...change(sent.metadata), uid: crypto.randomUUID() } };
        let mixedUp = 0;
        kube.script = {
          mixUp: ({ verb }) => verb === "create" && mixedUp++ === 0 ? { answer, isCarriedOut } : undefined,
        };
        const taken = replica.take([ALERT]);
        await time.advance(1_000);
        assertEquals((await taken).created, 1);
        assertEquals(kube.stored.map(({ metadata }) => metadata.name), [sent.metadata.name]);
        assertEquals(await createErrors(replica), { network: 1, ...(isCarriedOut && { already_exists: 1 }) });
        assertEquals([...replica.index.entries()].map((entry) => entry.row().uid), [
          kube.stored[0]?.metadata.uid ?? "",
        ]);
      }));
  }
}

Deno.test("writer reads again when the answer to a read is about another object", () =>
  withReplica(async ({ time, kube, replica }) => {
    replica.lagging = true;
    const other = new Replica(kube, { time });
    await other.take([ALERT]);
    const answer = storedObservation({ id: "another" });
    let mixedUp = 0;
    kube.script = {
      mixUp: ({ verb }) => verb === "get" && mixedUp++ === 0 ? { answer, isCarriedOut: true } : undefined,
    };
    const taken = replica.take([ALERT]);
    await time.advance(1_000);
    assertEquals((await taken).deduped, 1);
    await other.kill();
  }));

Deno.test("after INSTANCE is renamed, the next generation follows those with the old label", () =>
  withReplica(async ({ time, kube, replica }) => {
    const blue = new Replica(kube, { time, instance: "blue" });
    for (let generation = 1; generation <= 6; generation++) {
      assertEquals((await blue.take([ALERT])).created, 1);
      await time.advance(120_000);
    }
    await blue.kill();
    const { created, byReason } = await replica.take([ALERT]);
    assertEquals([created, byReason.failed], [1, {}]);
    assertEquals(kube.stored.length, 7);
  }));

Deno.test("an object planted under a finding's fingerprint neither dedupes the finding nor receives its content", () =>
  withReplica(async ({ time, kube, replica }) => {
    await replica.take([IN_PROD], { kind: "finding" });
    const [real] = kube.stored;
    assert(real);
    kube.remove("prod", real.metadata.name ?? "");
    const { uid: _uid, ...metadata } = real.metadata;
    for (const [namespace, affected] of [["evil", "prod"], ["evil", "evil"]] as const) {
      const resource = { ...real.spec.resource, namespace: affected };
      kube.put({ ...real, metadata: { ...metadata, namespace }, spec: { ...real.spec, resource } });
      const again = replica.take([{ ...IN_PROD, message: "A secret" }], { kind: "finding" });
      await time.advance(20_000);
      assertEquals((await again).created, 1, `planted in evil, of ${affected}`);
      assertEquals(kube.stored.map(({ metadata, spec }) => [metadata.namespace, spec.message]), [
        ["evil", "A shell was spawned"],
        ["prod", "A secret"],
      ]);
      kube.remove("prod", real.metadata.name ?? "");
      kube.remove("evil", real.metadata.name ?? "");
    }
  }));

Deno.test("a planted generation of 4294967295 or lastSeenAt in the year 9999 does not keep an alert from being stored", () =>
  withReplica(async ({ time, kube, replica }) => {
    await replica.take([ALERT]);
    const [first] = kube.stored;
    assert(first);
    const { uid: _uid, ...metadata } = first.metadata;
    const name = (metadata.name ?? "").replace(/-1$/, "-4294967295");
    kube.put({ ...first, metadata: { ...metadata, name } });
    kube.put({ ...first, status: { ...first.status, lastSeenAt: "9999-01-01T00:00:00Z" } });
    replica.dedup.forget(first.metadata.annotations?.[ANNOTATIONS.fingerprint] ?? "", 1);
    await time.advance(120_000);
    assertEquals((await replica.take([ALERT])).created, 1);
    assertEquals(
      kube.stored.map(({ metadata }) => metadata.name?.split("-").at(-1)),
      ["1", "2", "4294967295"],
    );
  }));

Deno.test("the instance label follows with the next write of a finding's content", () =>
  withReplica(async ({ time, kube, replica }) => {
    const blue = new Replica(kube, { time, instance: "blue" });
    await blue.take([IN_PROD], { kind: "finding", pushed: false });
    await blue.kill();
    await replica.take([{ ...IN_PROD, message: "A fix is there" }], { kind: "finding", pushed: false });
    await time.advance(10_000);
    const [stored] = kube.stored;
    assertEquals([stored?.spec.message, stored?.metadata.labels?.[LABELS.instance]], [
      "A fix is there",
      "default",
    ]);
  }));

/** How a namespace refuses what is written to it. */
const REFUSALS: Readonly<Record<string, [label: string, () => Error]>> = {
  "by its quota": ["quota", () => apiError("create", 403, "Forbidden", { message: "exceeded quota: none" })],
  "by a quota that is not counted yet": [
    "quota",
    () =>
      apiError("create", 403, "Forbidden", {
        message:
          'observations "a" is forbidden: status unknown for quota: none, resources: count/observations',
      }),
  ],
  "by an admission plugin": [
    "admission",
    () => apiError("create", 403, "Forbidden", { message: 'observations "a" is forbidden: not here' }),
  ],
  "by a webhook with 400": [
    "admission",
    () => apiError("create", 400, "BadRequest", { message: 'admission webhook "a" denied the request: no' }),
  ],
  "by a webhook with 500": [
    "admission",
    () => apiError("create", 500, "", { message: 'admission webhook "a" denied the request: no' }),
  ],
  "by a policy with 422": [
    "admission",
    () =>
      apiError("create", 422, "Invalid", {
        message: "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
      }),
  ],
  "since it is terminating": [
    "namespace",
    () => apiError("create", 403, "Forbidden", { details: { causes: [{ reason: "NamespaceTerminating" }] } }),
  ],
};

/** The namespace refuses every create. */
function refusing(namespace: string, error: () => Error) {
  return {
    before: (call: FakeCall) => {
      if (call.verb === "create" && call.namespace === namespace) throw error();
    },
  };
}

for (const [how, [label, error]] of Object.entries(REFUSALS)) {
  Deno.test(`an Observation that its namespace refuses ${how} is stored at once in the controller's namespace`, () =>
    withReplica(async ({ kube, replica }) => {
      kube.script = refusing("prod", error);
      for (const pushed of [true, false]) {
        const alert = { ...IN_PROD, identity: { rule: `pushed ${pushed}` } };
        assertEquals((await replica.take([alert], { pushed })).created, 1, "without any wait");
        assertEquals((await replica.take([alert], { pushed })).deduped, 1);
      }
      assertEquals(
        kube.stored.map(({ metadata }) => [
          metadata.namespace,
          metadata.annotations?.[ANNOTATIONS.refusedByNamespace],
        ]),
        [["zen-system", "prod"], ["zen-system", "prod"]],
      );
      assertEquals(await createErrors(replica), { [label]: 2 });
    }));
}

Deno.test("a missing namespace is remembered for 10 s: its events cost one create each", () =>
  withReplica(async ({ time, kube, replica }) => {
    kube.missingNamespaces.add("prod");
    const creates = async () => {
      const before = kube.count("create");
      await replica.take([{ ...IN_PROD, identity: { rule: `${before}` } }]);
      return kube.count("create") - before;
    };
    assertEquals(await creates(), 2);
    await time.advance(9_000);
    assertEquals([await creates(), kube.count("get")], [1, 0]);
    kube.missingNamespaces.clear();
    await time.advance(2_000);
    await creates();
    assertEquals(kube.stored.filter(({ metadata }) => metadata.namespace === "prod").length, 1);
  }));

Deno.test("a quota that fills between a create and its repeat or retry does not store anything twice", () =>
  withReplica(async ({ time, kube, replica }) => {
    const quota = () => apiError("create", 403, "Forbidden", { message: "exceeded quota: small" });
    let isFull = false;
    kube.script = {
      before(call) {
        if (call.verb === "create" && call.namespace === "prod" && isFull) throw quota();
      },
      after({ verb }) {
        if (verb !== "create" || isFull) return;
        isFull = true;
        throw new NetworkError("reset");
      },
    };
    const taken = replica.take([IN_PROD]);
    await time.advance(1_000);
    assertEquals((await taken).created, 1, "the answer was lost");
    const other = new Replica(kube, { time, unlisted: true });
    assertEquals((await other.take([IN_PROD])).deduped, 1);
    assertEquals(kube.stored.map(({ metadata }) => metadata.namespace), ["prod"]);
    await other.kill();
  }));

Deno.test("writes that wait for a retry in one namespace do not delay others, even of the same request", () =>
  withReplica(async ({ time, kube, replica }) => {
    const failing = () => apiError("create", 500, "InternalError", { message: "failed calling webhook" });
    kube.script = refusing("prod", failing);
    const stuck = Array.from({ length: 60 }, (_, id) => ({ ...IN_PROD, identity: { rule: `${id}` } }));
    const deadline = new AbortController();
    const inShop = { ...ALERT, resource: { kind: "Pod", name: "web-0", namespace: "shop" } };
    const batch = replica.take([...stuck, inShop], { signal: deadline.signal });
    await time.advance(5_000);
    assertEquals(kube.stored.map(({ metadata }) => metadata.namespace), ["shop"]);
    const next = { ...inShop, identity: { rule: "next" } };
    assertEquals((await replica.take([next])).created, 1);
    deadline.abort();
    await time.advance(0);
    const { created, undecided } = await batch;
    assertEquals([created, undecided, replica.slots.taken], [1, 60, 0]);
    kube.script = {};
    const again = replica.take([...stuck, inShop]);
    await time.advance(1_000);
    assertEquals([(await again).created, (await again).deduped], [60, 1]);
  }));
