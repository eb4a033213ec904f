import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { Hono } from "hono";
import type { JsonObject } from "../model/json.ts";
import { createTimeSlices } from "../pipeline/limits.ts";
import { configureLogging } from "../telemetry/logging.ts";
import { admissionHandler } from "../../tests/support/admission.ts";
import { ADMISSION_PATH, type AdmissionOptions } from "./admission.ts";
import { judgeAdmission, readReview } from "./admission_judge.ts";
import type { Bindings } from "./app.ts";
import { createBodyLimits } from "./request.ts";

const CONTROLLER = "system:serviceaccount:zen-system:zen-watcher";

function review(request: JsonObject = {}): JsonObject {
  return {
    apiVersion: "admission.k8s.io/v1",
    kind: "AdmissionReview",
    request: {
      uid: "u-1",
      operation: "UPDATE",
      userInfo: { username: "anna" },
      resource: { group: "zen.kube-zen.io", version: "v1", resource: "observations" },
      object: observation(),
      oldObject: observation(),
      ...request,
    },
  };
}

function observation(change: JsonObject = {}): JsonObject {
  return {
    metadata: { labels: { "zen.kube-zen.io/source": "trivy", team: "a" }, annotations: { note: "x" } },
    spec: { message: "m", details: { list: [1, { a: 1, b: 2 }] } },
    ...change,
  };
}

function verdict(request: JsonObject, writers: readonly string[] = [CONTROLLER]): string {
  const read = readReview(review(request));
  if ("problem" in read) return read.problem;
  const judgement = judgeAdmission(read, { writers, exceptionMaxDays: 365 });
  return judgement.allowed ? "allowed" : judgement.message;
}

Deno.test("judge() lets writers write, and others what changes nothing that zen-watcher says", () => {
  const changed = observation({ spec: { message: "other" } });
  assertEquals(verdict({ object: changed, userInfo: { username: CONTROLLER } }), "allowed");
  assertEquals(verdict({ object: changed }), "what an Observation says is changed by zen-watcher alone");
  assertEquals(verdict({}), "allowed");
  assertEquals(verdict({ operation: "DELETE", object: null }), "allowed");
  assertEquals(
    verdict({ operation: "CREATE", oldObject: null }),
    "Observations are created by zen-watcher alone",
  );
  assertEquals(verdict({ subResource: "status" }), "status is written by zen-watcher alone");
  const ingesters = { group: "zen.kube-zen.io", version: "v1alpha1", resource: "ingesters" };
  assertEquals(verdict({ resource: ingesters, object: changed }), "allowed");
  assertEquals(
    verdict({ resource: ingesters, subResource: "status" }),
    "status is written by zen-watcher alone",
  );
  assertEquals(
    verdict({ resource: { group: "", version: "v1", resource: "pods" }, object: changed }),
    "allowed",
  );
});

Deno.test("judge() bounds how long an exception lasts, for writers too, and its status is zen-watcher's", () => {
  const exceptions = { group: "zen.kube-zen.io", version: "v1alpha1", resource: "observationexceptions" };
  const until = (expiresAt: string) => ({
    metadata: { creationTimestamp: "2026-11-01T00:00:00Z" },
    spec: { expiresAt },
  });
  const tooLong = "expiresAt is at most 365 days after the creation of the exception";
  for (const operation of ["CREATE", "UPDATE"]) {
    const asked = (expiresAt: string) => ({ resource: exceptions, operation, object: until(expiresAt) });
    assertEquals(verdict(asked("2027-11-01T00:00:00Z")), "allowed");
    assertEquals(verdict(asked("2027-11-01T00:00:01Z")), tooLong);
    assertEquals(
      verdict({ ...asked("2099-01-01T00:00:00Z"), userInfo: { username: CONTROLLER } }),
      tooLong,
    );
  }
  assertEquals(
    verdict({ resource: exceptions, subResource: "status" }),
    "status is written by zen-watcher alone",
  );
});

Deno.test("judge() lets an exception end or be edited that was written under a longer bound, and not be extended", () => {
  const exceptions = { group: "zen.kube-zen.io", version: "v1alpha1", resource: "observationexceptions" };
  const written = (expiresAt: string, metadata: JsonObject = {}) => ({
    metadata: { creationTimestamp: "2026-11-01T00:00:00Z", ...metadata },
    spec: { expiresAt, justification: "x" },
  });
  const [late, later] = ["2028-11-01T00:00:00Z", "2028-12-01T00:00:00Z"];
  const update = (oldObject: JsonObject, object: JsonObject) =>
    verdict({ resource: exceptions, object, oldObject });
  const tooLong = "expiresAt is at most 365 days after the creation of the exception";
  const deleted = { deletionTimestamp: "2026-11-30T00:00:00Z" };
  assertEquals(
    update(written(late, { ...deleted, finalizers: ["foregroundDeletion"] }), written(late, deleted)),
    "allowed",
    "the garbage collector takes its finalizer",
  );
  assertEquals(
    update(written(late), { ...written(late), spec: { expiresAt: late, ticket: "A-1" } }),
    "allowed",
  );
  assertEquals(
    update(written(late), written("2027-01-01T00:00:00Z")),
    "allowed",
    "it is brought within the bound",
  );
  assertEquals(update(written(late), written(later)), tooLong);
  assertEquals(update(written(later), written(late)), tooLong);
  assertEquals(update(written(late, deleted), written(later, deleted)), tooLong);
  assertEquals(
    verdict({ resource: exceptions, operation: "CREATE", object: written(late), oldObject: written(late) }),
    tooLong,
  );
});

Deno.test("judge() compares values, not their texts", () => {
  const reordered = observation({ spec: { details: { list: [1, { b: 2, a: 1 }] }, message: "m" } });
  assertEquals(verdict({ object: reordered }), "allowed");
  for (const details of [{ list: [{ a: 1, b: 2 }, 1] }, { list: [1] }, { list: { 0: 1 } }, null]) {
    assertMatch(
      verdict({ object: observation({ spec: { message: "m", details } }) }),
      /changed by zen-watcher/,
    );
  }
  const inert = JSON.parse('{"message":"m","details":{"list":[1,{"a":1,"b":2}],"__proto__":{"x":1}}}');
  assertMatch(verdict({ object: observation({ spec: inert }) }), /changed by zen-watcher/);
});

Deno.test("judge() guards our labels and annotations, not other people's", () => {
  const labels = { "zen.kube-zen.io/source": "trivy", team: "b" };
  assertEquals(verdict({ object: observation({ metadata: { labels } }) }), "allowed");
  for (
    const metadata of [{}, { labels: { "zen.kube-zen.io/source": "falco" } }, {
      labels: { ...labels, "app.kubernetes.io/managed-by": "x" },
    }]
  ) {
    assertMatch(verdict({ object: observation({ metadata }) }), /labels and annotations/);
  }
  const annotations = { "zen.kube-zen.io/identity": "x" };
  assertMatch(
    verdict({ object: observation({ metadata: { labels, annotations } }) }),
    /labels and annotations/,
  );
});

Deno.test("judge() refuses owners and finalizers that others give or take, until the object is deleted", () => {
  const refusal = "ownerReferences and finalizers of an Observation are changed by zen-watcher alone";
  const labels = { "zen.kube-zen.io/source": "trivy" };
  const owner = { apiVersion: "v1", kind: "ConfigMap", name: "a", uid: "u" };
  const bound = (metadata: JsonObject) => observation({ metadata: { labels, ...metadata } });
  const deletionTimestamp = "2026-11-01T00:00:00Z";
  for (const bonds of [{ finalizers: ["a/b", "c/d"] }, { ownerReferences: [owner] }]) {
    assertEquals(verdict({ oldObject: bound({}), object: bound(bonds) }), refusal);
    assertEquals(verdict({ oldObject: bound(bonds), object: bound({}) }), refusal);
    assertEquals(verdict({ oldObject: bound(bonds), object: bound(bonds) }), "allowed");
    const deleted = bound({ ...bonds, deletionTimestamp });
    const ended = bound({ deletionTimestamp });
    assertEquals(verdict({ oldObject: deleted, object: ended }), "allowed");
    assertEquals(verdict({ oldObject: ended, object: deleted }), refusal);
    const rewritten = { ...ended, spec: { message: "other" } };
    assertMatch(verdict({ oldObject: deleted, object: rewritten }), /what an Observation says/);
    assertEquals(
      verdict({ oldObject: bound({}), object: bound(bonds), userInfo: { username: CONTROLLER } }),
      "allowed",
    );
  }
});

Deno.test("readReview() says what is wrong with what is no review", () => {
  for (
    const [body, problem] of [
      [null, "expected an AdmissionReview of admission.k8s.io/v1"],
      [
        { ...review(), apiVersion: "admission.k8s.io/v1beta1" },
        "expected an AdmissionReview of admission.k8s.io/v1",
      ],
      [{ ...review(), request: [] }, "at request: expected an object"],
      [review({ uid: "" }), "at request.uid: expected text"],
      [review({ operation: null }), "at request.operation: expected text"],
      [review({ userInfo: {} }), "at request.userInfo.username: expected text"],
      [review({ resource: { group: "x" } }), "at request.resource: expected a group and a resource"],
    ] as const
  ) assertEquals(readReview(body), { problem });
});

const MIB = 2 ** 20;
const API_SERVER = "10.0.0.1";
const STRANGER = "10.9.9.9";

/** The route alone. */
function route(options: Partial<AdmissionOptions> = {}) {
  const handle = admissionHandler({ admissionWriters: () => [CONTROLLER], ...options });
  const app = new Hono<{ Bindings: Bindings }>().all(ADMISSION_PATH, (c) => handle(c, c.env));
  return async (
    body: string | ReadableStream,
    { method = "POST", peer = API_SERVER, isTls = true, length }: {
      method?: string;
      peer?: string;
      isTls?: boolean;
      length?: number;
    } = {},
  ): Promise<Response> => {
    const announced = length ?? (typeof body === "string" ? body.length : undefined);
    return await app.request(ADMISSION_PATH, {
      method,
      ...(announced !== undefined && { headers: { "content-length": String(announced) } }),
      ...(method === "POST" && { body, duplex: "half" }),
    } as RequestInit, { peer, isTls });
  };
}

const REFUSED = JSON.stringify(review({ subResource: "status" }));

Deno.test("the route answers a review with a review", async () => {
  const post = route();
  const allowed = await post(JSON.stringify(review()));
  assertEquals([allowed.status, await allowed.json()], [200, {
    apiVersion: "admission.k8s.io/v1",
    kind: "AdmissionReview",
    response: { uid: "u-1", allowed: true },
  }]);
  const denied = await (await post(REFUSED)).json();
  assertEquals(denied.response, {
    uid: "u-1",
    allowed: false,
    status: {
      status: "Failure",
      code: 403,
      reason: "Forbidden",
      message: "status is written by zen-watcher alone",
    },
  });
});

Deno.test("the route refuses what is no review: never a false yes", async () => {
  const post = route();
  const cases: readonly [body: string, method: string, status: number][] = [
    ["", "GET", 405],
    ["", "POST", 400],
    ["{", "POST", 400],
    ["[]", "POST", 400],
    [JSON.stringify(review()).repeat(2), "POST", 400],
    [`${"[".repeat(100_000)}${"]".repeat(100_000)}`, "POST", 400],
    ["x".repeat(4 * MIB + 1), "POST", 413],
  ];
  for (const [body, method, status] of cases) {
    const response = await post(body, { method });
    assertEquals(response.status, status);
    const { error } = await response.json();
    assertMatch(error, /^Cannot /);
    if (status === 413) assertStringIncludes(error, "the longest review");
  }
});

Deno.test("POST /admission/validate is answered on the TLS port alone, and no client has more than its rate", async () => {
  const post = route({ allow: (client) => client !== STRANGER });
  const body = JSON.stringify(review());
  const statuses = [
    await post(body),
    await post(body, { isTls: false }),
    await post(body, { peer: STRANGER }),
    await post(body, { peer: `::ffff:${STRANGER}` }),
  ].map(({ status }) => status);
  assertEquals(statuses, [200, 404, 503, 503]);
});

/** A body that lacks its last byte until it is released. */
function stalled(bytes: number) {
  const { promise, resolve } = Promise.withResolvers<void>();
  const piece = new Uint8Array(bytes - 1).fill(32);
  const body = new ReadableStream({
    async start(stream) {
      stream.enqueue(piece);
      await promise;
      stream.enqueue(new Uint8Array([32]));
      stream.close();
    },
  });
  return { body, length: bytes, release: resolve };
}

Deno.test("bodies that a stranger does not end leave room for the API server's reviews, small and large", async () => {
  const small = JSON.stringify(review());
  for (const [memoryBytes, largeMib] of [[Infinity, 4], [128 * MIB, 1]] as const) {
    const message = "m".repeat(largeMib * MIB - 1_000);
    const large = JSON.stringify(review({ object: observation({ spec: { message } }) }));
    const bodies = createBodyLimits({ maxBytes: 16 * MIB, memoryBytes });
    const post = route({ bodies });
    for (const bytes of [largeMib * MIB, 64 * 1024]) {
      const held = Array.from({ length: 300 }, () => stalled(bytes));
      const answers = held.map(({ body, length }) => post(body, { peer: STRANGER, length }));
      await new Promise((resolve) => setTimeout(resolve, 0));
      assert(bodies.reviews.used + bodies.smallReviews.used > 0, "some of them wait");
      assertEquals((await post(small)).status, 200, `${bytes}`);
      assertEquals((await post(large)).status, 200, `${bytes}`);
      for (const { release } of held) release();
      const statuses = new Set((await Promise.all(answers)).map(({ status }) => status));
      assertEquals([...statuses].sort(), [400, 503]);
      assertEquals([bodies.reviews.used, bodies.smallReviews.used], [0, 0]);
    }
  }
});

Deno.test("large bodies of several strangers leave room for the small reviews, which nearly all are", async () => {
  const post = route();
  const held = Array.from({ length: 8 }, () => stalled(4 * MIB));
  const answers = held.map(({ body, length }, index) => post(body, { peer: `10.9.9.${index}`, length }));
  await new Promise((resolve) => setTimeout(resolve, 0));
  assertEquals((await post(JSON.stringify(review()))).status, 200);
  for (const { release } of held) release();
  await Promise.all(answers);
});

Deno.test("POST /admission/validate reads a large review in slices", async () => {
  let at = 0;
  const clock = { now: () => 0, monotonic: () => at += 1 };
  const slices = createTimeSlices(clock, 3);
  let turns = 0;
  const timer = setInterval(() => turns++, 0);
  const post = route({ slices });
  const list = Array(30_000).fill("m".repeat(100));
  const body = JSON.stringify(review({ object: observation({ spec: { details: { list } } }) }));
  assertEquals((await post(body)).status, 200);
  clearInterval(timer);
  assert(turns > 2, `${turns} turns of the event loop`);
});

Deno.test("POST /admission/validate says who was refused, of one client no more than half of what the log takes", async () => {
  const lines: JsonObject[] = [];
  let now = 0;
  const write = (line: string) => void lines.push(JSON.parse(line));
  configureLogging({ level: "INFO", format: "json", write, now: () => now });
  const post = route({ clock: { now: () => now, monotonic: () => now } });
  for (let write = 0; write < 100; write++) await post(REFUSED, { peer: STRANGER });
  await post(REFUSED);
  assertEquals(lines.map(({ client }) => client), [...Array(5).fill(STRANGER), API_SERVER]);
  assertEquals([lines[0]?.message, lines[0]?.level, lines[0]?.user], ["Write refused", "WARN", "anna"]);
  now = 10_000;
  await post(REFUSED, { peer: STRANGER });
  assertEquals([lines.length, lines.at(-1)?.requests], [7, 96]);
});
