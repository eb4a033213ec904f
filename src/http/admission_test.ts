import { assertEquals, assertMatch } from "@std/assert";
import { Hono } from "hono";
import type { JsonObject } from "../model/json.ts";
import { configureLogging } from "../telemetry/logging.ts";
import { ADMISSION_PATH, createAdmissionHandler } from "./admission.ts";
import { judgeAdmission, readReview } from "./admission_judge.ts";

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

function post(body: string | ReadableStream, method = "POST"): Response | Promise<Response> {
  const app = new Hono();
  app.all(ADMISSION_PATH, createAdmissionHandler({ writers: () => [CONTROLLER], exceptionMaxDays: 365 }));
  return app.request(ADMISSION_PATH, { method, ...(method === "POST" ? { body } : {}) });
}

Deno.test("the route answers a review with a review", async () => {
  const allowed = await post(JSON.stringify(review()));
  assertEquals([allowed.status, await allowed.json()], [200, {
    apiVersion: "admission.k8s.io/v1",
    kind: "AdmissionReview",
    response: { uid: "u-1", allowed: true },
  }]);
  const denied = await (await post(JSON.stringify(review({ subResource: "status" })))).json();
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
  const cases: readonly [body: string, method: string, status: number][] = [
    ["", "GET", 405],
    ["", "POST", 400],
    ["{", "POST", 400],
    ["[]", "POST", 400],
    [`${"[".repeat(100_000)}${"]".repeat(100_000)}`, "POST", 400],
    ["x".repeat(4 * 2 ** 20 + 1), "POST", 413],
  ];
  for (const [body, method, status] of cases) {
    const response = await post(body, method);
    assertEquals(response.status, status);
    assertMatch((await response.json()).error, /^Cannot /);
  }
});

Deno.test("POST /admission/validate says who was refused, and a hundred times in a row no more than that it went on", async () => {
  const lines: JsonObject[] = [];
  let now = 0;
  const write = (line: string) => void lines.push(JSON.parse(line));
  configureLogging({ level: "INFO", format: "json", write, now: () => now });
  const handle = createAdmissionHandler({ writers: () => [], exceptionMaxDays: 365 });
  const app = new Hono().all(ADMISSION_PATH, handle);
  const refused = JSON.stringify(review({ subResource: "status" }));
  const refuse = () => app.request(ADMISSION_PATH, { method: "POST", body: refused });
  for (let write = 0; write < 100; write++) await refuse();
  assertEquals(lines.length, 10);
  assertEquals([lines[0]?.message, lines[0]?.level, lines[0]?.user], ["Write refused", "WARN", "anna"]);
  now = 10_000;
  await refuse();
  assertEquals([lines.length, lines.at(-1)?.suppressed], [11, 90]);
});
