import { assert, assertEquals, assertNotEquals } from "@std/assert";
import * as fc from "fast-check";
import {
  canonicalJson,
  cronJobOfJob,
  deploymentOfPod,
  deploymentOfReplicaSet,
  eventTypeName,
  fingerprintOf,
  isLabelValue,
  isNamespaceName,
  labelValue,
  nameFingerprint,
  observationName,
  parseName,
  reportedWorkload,
  shortFingerprint,
  sourceName,
  topOfChain,
  withLastingNames,
  workloadOf,
} from "./identity.ts";
import { EVENT_TYPE_PATTERN, SOURCE_PATTERN } from "./observation.ts";

Deno.test("observationName() is the source, 100 bits of the fingerprint in base32 and an occurrence's generation", () => {
  const fingerprint = "0123456789abcdef".repeat(4);
  assertEquals(observationName("trivy", fingerprint, 0), "trivy-04hmasw9nf6yy0938nkr");
  assertEquals(observationName("falco", fingerprint, 12), "falco-04hmasw9nf6yy0938nkr-12");
  assertEquals(observationName("a", "f".repeat(64), 0), `a-${"z".repeat(20)}`);
});

Deno.test("parseName() reads what observationName() gives, for any fingerprint (property)", () => {
  fc.assert(
    fc.property(
      fc.constantFrom("falco", "kube-bench", "a-1-2"),
      fc.stringMatching(/^[0-9a-f]{64}$/),
      fc.integer({ min: 0, max: 2 ** 32 - 1 }),
      (source, fingerprint, generation) => {
        const name = observationName(source, fingerprint, generation);
        assertEquals(parseName(name), { source, fingerprint: nameFingerprint(fingerprint), generation });
      },
    ),
  );
});

Deno.test("parseName() refuses names that zen-watcher does not give", () => {
  const text = "04hmasw9nf6yy0938nkr";
  const legal = [`falco-${text}`, `falco-${text}-1`];
  for (const name of legal) assert(parseName(name), name);
  const illegal = [
    ...[
      text,
      `-${text}`,
      `falco-${text}-0`,
      `falco-${text}-01`,
      `falco-${text}-x`,
      `falco-${text}-`,
      "a",
      "",
    ],
    ...[
      `falco-${text.toUpperCase()}`,
      `falco-${text.slice(1)}u`,
      `falco-${text}-4294967296`,
      `falco-${text}0`,
    ],
  ];
  for (const name of illegal) assertEquals(parseName(name), undefined, name);
});

Deno.test("labelValue() keeps what is legal and tells apart what it has to change", () => {
  for (const legal of ["", "a", "HIGH", "runtime-threat", "a.b_c-d", "0".repeat(63)]) {
    assertEquals(labelValue(legal), legal);
  }
  for (const illegal of ["-a", "a-", "a/b", "a:b", "system:node", "ü", "a b", "0".repeat(64), "___", "😀"]) {
    const value = labelValue(illegal);
    assert(value !== "" && isLabelValue(value), `${illegal} became ${value}`);
    assertEquals(labelValue(illegal), value);
  }
  assertEquals(labelValue("guestbook/require-owner").slice(0, 24), "guestbook-require-owner-");
  assertNotEquals(labelValue("a/b"), labelValue("a:b"));
  assertNotEquals(labelValue(`${"x".repeat(70)}1`), labelValue(`${"x".repeat(70)}2`));
});

Deno.test("sourceName() and eventTypeName() make legal names of any tool's word", () => {
  assertEquals(sourceName("Trivy Operator (v0.1)"), "trivy-operator-v0-1");
  assertEquals(sourceName("a_b"), "a-b");
  assertEquals(eventTypeName("Policy_Violation"), "policy_violation");
  assertEquals(eventTypeName("__a _ b--"), "a-b");
  for (const word of ["--", "", "😀", "İ"]) assertEquals(sourceName(word), "");
  for (const word of ["x".repeat(100), `${"x".repeat(62)}--y`, "K", "ß9", "a.b.c", "9"]) {
    const source = sourceName(word), eventType = eventTypeName(word);
    assert(source === "" || (SOURCE_PATTERN.test(source) && source.length <= 63), source);
    assert(eventType === "" || (EVENT_TYPE_PATTERN.test(eventType) && eventType.length <= 63), eventType);
  }
});

Deno.test("isNamespaceName() takes DNS-1123 labels alone", () => {
  for (const name of ["a", "kube-system", "0", "x".repeat(63)]) assert(isNamespaceName(name), name);
  for (const name of ["", "-a", "a-", "A", "a.b", "a/b", "./x", "x".repeat(64), "ä"]) {
    assert(!isNamespaceName(name), name);
  }
});

Deno.test("a workload's generated name loses what Kubernetes added, and only that", () => {
  const cases: [string | undefined, string | undefined][] = [
    [deploymentOfReplicaSet("web-5d59d67564"), "web"],
    [deploymentOfReplicaSet("my-web-app-6799fc88d8"), "my-web-app"],
    [deploymentOfReplicaSet("standalone"), undefined],
    [deploymentOfReplicaSet("redis-db"), undefined],
    [deploymentOfReplicaSet("web-frontend"), undefined],
    [deploymentOfReplicaSet("-5d59d67564"), undefined],
    [deploymentOfPod("web-5d59d67564-x2vbn"), "web"],
    [deploymentOfPod("web-x2vbn"), undefined],
    [cronJobOfJob("backup-28392845"), "backup"],
    [cronJobOfJob("backup-1620000000"), undefined],
    [cronJobOfJob("db-migrate-20261101"), undefined],
    [cronJobOfJob("backup-27999999"), undefined],
    [cronJobOfJob("backup-36000000"), "backup"],
    [deploymentOfReplicaSet("gateway-https"), undefined],
    [deploymentOfReplicaSet("cache-tmpfs"), undefined],
    [deploymentOfReplicaSet("web-bcdfg"), undefined],
    [deploymentOfReplicaSet("web-bcdf4"), "web"],
    [deploymentOfReplicaSet("web-mxwvzkph"), undefined],
    [deploymentOfReplicaSet("web-mxwvzk2h"), "web"],
    [cronJobOfJob("migrate-42"), undefined],
    [cronJobOfJob("backup-2839284x"), undefined],
  ];
  for (const [actual, expected] of cases) assertEquals(actual, expected);
});

Deno.test("reportedWorkload() names the Deployment of a ReplicaSet and the CronJob of a Job", () => {
  assertEquals(
    reportedWorkload({
      apiVersion: "apps/v1",
      kind: "ReplicaSet",
      name: "web-5d59d67564",
      namespace: "shop",
    }),
    { apiVersion: "apps/v1", kind: "Deployment", name: "web", namespace: "shop" },
  );
  assertEquals(reportedWorkload({ kind: "Job", name: "backup-28392845" }), {
    apiVersion: "batch/v1",
    kind: "CronJob",
    name: "backup",
  });
  const pod = { kind: "Pod", name: "web-5d59d67564" };
  assertEquals(reportedWorkload(pod), pod);
  assertEquals(reportedWorkload({}), {});
});

Deno.test("topOfChain() and workloadOf() agree on the CronJob of every Pod that one of its Jobs makes", () => {
  // 29945678 has only digits that a ReplicaSet's hash may have too.
  for (let number = 28_000_000; number <= 36_000_000; number += 9_973) assertChain(number);
  for (const number of [28_000_000, 29_245_678, 29_945_678, 29_999_999, 36_000_000]) assertChain(number);
});

function assertChain(number: number): void {
  const job = `import-${number}`;
  assertEquals(topOfChain({ kind: "Job", name: job }).name, "import");
  assertEquals(workloadOf({ kind: "Job", name: job }), "import");
  for (const pod of ["", "-0", "-17", "-99999"].map((index) => `${job}${index}-x7k9z`)) {
    const { kind, name } = topOfChain({ kind: "Pod", name: pod });
    assertEquals([kind, name], ["CronJob", "import"], pod);
    assertEquals(workloadOf({ kind: "Pod", name: pod }), "import", pod);
  }
}

Deno.test("topOfChain() keeps the Deployment of a Pod whose hash is no CronJob's number", () => {
  for (const hash of ["49945678", "5d59d67564", "27999999", "299456789"]) {
    const { kind, name } = topOfChain({ kind: "Pod", name: `web-${hash}-x7k9z` });
    assertEquals([kind, name], ["Deployment", "web"], hash);
  }
});

Deno.test("withLastingNames() puts the workload's name for generated ones of it, and for no other word", () => {
  const web = { kind: "Deployment", name: "web" };
  const cases: [text: string, resource: { kind: string; name: string }, expected: string][] = [
    ["Pod web-5d4f8c7b9d-x7k9z runs as root", web, "Pod web runs as root"],
    ["pods/web-5d4f8c7b9d-x7k9z, of web-5d4f8c7b9d.", web, "pods/web, of web."],
    ["(web-6f7c9d8b5f-kk4zz)", web, "(web)"],
    ["web-frontend and web-1, my-web-5d4f8c7b9d", web, "web-frontend and web-1, my-web-5d4f8c7b9d"],
    ["web-api-5d4f8c7b9d-x7k9z", web, "web-api-5d4f8c7b9d-x7k9z"],
    ["import-29945678-0-x7k9z of import-29945678", { kind: "CronJob", name: "import" }, "import of import"],
    ["db-0 and db-x7k9z", { kind: "StatefulSet", name: "db" }, "db-0 and db-x7k9z"],
    ["-5d4f8c7b9d-x7k9z", { kind: "Deployment", name: "" }, "-5d4f8c7b9d-x7k9z"],
  ];
  for (const [text, resource, expected] of cases) assertEquals(withLastingNames(text, resource), expected);
});

Deno.test("canonicalJson() prints the example of RFC 8785 as the RFC does", () => {
  const text = `{
    "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
    "string": "\\u20ac$\\u000F\\u000aA'\\u0042\\u0022\\u005c\\\\\\"\\/",
    "literals": [null, true, false]
  }`;
  assertEquals(
    canonicalJson(JSON.parse(text)),
    '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],' +
      '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}',
  );
});

Deno.test("canonicalJson() sorts keys by UTF-16 units and leaves out what is undefined", () => {
  const value = { "\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\u{1f600}": 5, "\u0080": 6, "ö": 7 };
  assertEquals(Object.keys(JSON.parse(canonicalJson(value))).length, 7);
  assertEquals(canonicalJson(value), '{"\\r":2,"1":4,"\u0080":6,"ö":7,"€":1,"😀":5,"\ufb33":3}');
  assertEquals(canonicalJson([NaN, -0, Infinity]), "[null,0,null]");
  assertEquals(canonicalJson(JSON.parse('{"__proto__":{"a":1}}')), '{"__proto__":{"a":1}}');
});

Deno.test("fingerprintOf() is the SHA-256 of the canonical JSON", () => {
  // printf '{"a":1,"b":[true]}' | sha256sum
  const expected = "90eddf64b875cb5fa184bb12503cc730";
  const fingerprint = fingerprintOf({ b: [true], a: 1.0 });
  assertEquals(fingerprint.length, 64);
  assertEquals(fingerprint, fingerprintOf(JSON.parse('{"\\u0061":1e0,"b":[true]}')));
  assertEquals(shortFingerprint(fingerprint), expected);
  assertNotEquals(fingerprint, fingerprintOf({ a: "1", b: [true] }));
});

Deno.test("workloadOf() groups what Kubernetes generated under the name people gave", () => {
  const cases: [kind: string, name: string, workload: string | undefined][] = [
    ["Deployment", "web", "web"],
    ["deployment", "web-2", "web-2"],
    ["StatefulSet", "db-0", "db-0"],
    ["DaemonSet", "agent-v2", "agent-v2"],
    ["CronJob", "backup", "backup"],
    ["ReplicaSet", "web-5d59d67564", "web"],
    ["ReplicaSet", "gateway-https", "gateway-https"],
    ["Job", "backup-28392845", "backup"],
    ["Job", "import-20261128", "import-20261128"],
    ["Pod", "web-5d59d67564-x2vbn", "web"],
    ["Pod", "backup-28392845-x2vbn", "backup"],
    ["Pod", "backup-28392845-0-x2vbn", "backup"],
    ["Pod", "train-3-x2vbn", "train-3"],
    ["Pod", "import-20261128-x2vbn", "import-20261128"],
    ["Pod", "agent-x2vbn", "agent"],
    ["Pod", "db-0", "db"],
    ["Pod", "etcd-control-plane", "etcd-control-plane"],
    ["Node", "n1", undefined],
    ["Secret", "web", undefined],
    ["", "web", undefined],
    ["Pod", "", undefined],
  ];
  for (const [kind, name, workload] of cases) {
    assertEquals(workloadOf({ kind, name }), workload, `${kind} ${name}`);
  }
  assertEquals(workloadOf(undefined), undefined);
});
