import { assert, assertEquals } from "@std/assert";
import type { DrawnEvent } from "../../model/event.ts";
import type { Json, JsonObject } from "../../model/json.ts";
import type { PayloadError } from "../../model/outcome.ts";
import { assertLinear } from "../../../tests/support/assert_linear.ts";
import { drawnFrom, settingsWith } from "../../../tests/support/source_runtime.ts";
import { kyverno } from "./mod.ts";

interface Drawing {
  readonly events: DrawnEvent[];
  readonly errors: PayloadError[];
}

function draw(body: Json): Drawing {
  const drawn = drawnFrom(kyverno, { body, origin: { confined: false }, receivedAt: 0 });
  return {
    events: drawn.flatMap((item) => "event" in item ? [item.event] : []),
    errors: drawn.flatMap((item) => "error" in item ? [item.error] : []),
  };
}

const POD = { apiVersion: "v1", kind: "Pod", name: "web-1", namespace: "shop" };

function report(fields: JsonObject): JsonObject {
  return {
    apiVersion: "wgpolicyk8s.io/v1alpha2",
    kind: "PolicyReport",
    metadata: { name: "r", namespace: "shop" },
    scope: POD,
    ...fields,
  };
}

function result(fields: JsonObject = {}): JsonObject {
  return {
    policy: "labels",
    rule: "check",
    result: "fail",
    severity: "high",
    message: "no label",
    source: "kyverno",
    ...fields,
  };
}

function only(body: Json): DrawnEvent {
  const { events, errors } = draw(body);
  assertEquals([events.length, errors], [1, []]);
  return events[0] as DrawnEvent;
}

/** The parts that decide whether a stored finding is written again. */
function stored({ identity, message, details, severity }: DrawnEvent): JsonObject {
  return { identity, message, details, severity };
}

Deno.test("kyverno draws one finding of a result in both API groups and in every version", () => {
  const reports = [
    report({ results: [result()] }),
    report({
      apiVersion: "openreports.io/v1alpha1",
      kind: "Report",
      source: "",
      results: [result({ properties: { process: "x" } })],
    }),
    report({ apiVersion: "wgpolicyk8s.io/v1alpha1", results: [result({ result: null, status: "fail" })] }),
    report({ scope: null, results: [result({ resources: [POD] })] }),
  ];
  const all = new Set(reports.map((body) => JSON.stringify(stored(only(body)))));
  assertEquals(all.size, 1);
});

Deno.test("kyverno draws the same finding after a rescan that moved only timestamps", () => {
  const at = (seconds: number) =>
    report({
      results: [
        result({ timestamp: { seconds, nanos: 5_000_000 }, properties: { process: `scan ${seconds}` } }),
      ],
    });
  assertEquals(stored(only(at(1_700_000_000))), stored(only(at(1_700_003_600))));
  assertEquals(only(at(1_700_000_000)).detectedAt, 1_700_000_000_005);
});

Deno.test("kyverno leaves autogen prefixes out of identity", () => {
  const rules = ["check", "autogen-check", "autogen-cronjob-check"].map((rule) =>
    only(report({ results: [result({ rule })] })).identity
  );
  assertEquals(new Set(rules.map((identity) => JSON.stringify(identity))).size, 1);
});

const SCOPES = {
  Deployment: [["Deployment", "cart"], ["ReplicaSet", "cart-55dbf95b8f"], ["ReplicaSet", "cart-7dcd8749bc"], [
    "Pod",
    "cart-55dbf95b8f-x2x4z",
  ]],
  CronJob: [
    ["CronJob", "nightly"],
    ["Job", "nightly-29921921"],
    ["Job", "nightly-29921922"],
    [
      "Pod",
      "nightly-29921921-kq7vb",
    ],
    ["Pod", "nightly-29921921-0-kq7vb"],
    ["Job", "nightly-29945678"],
    ["Pod", "nightly-29945678-kq7vb"],
  ],
} as const;

for (const [top, scopes] of Object.entries(SCOPES)) {
  Deno.test(`kyverno draws one finding with one content of a ${top} and what it owns`, () => {
    const events = scopes.map(([kind, name], index) => {
      const derived = index % 2 === 0;
      const rule = derived ? top === "CronJob" ? "autogen-cronjob-check" : "autogen-check" : "check";
      const template = top === "CronJob" ? "/spec/jobTemplate/spec/template" : "/spec/template";
      const message = `${kind} ${name} has no label. rule ${rule} failed at path ${
        derived ? template : ""
      }/metadata/`;
      return only(report({ scope: { kind, name, namespace: "shop" }, results: [result({ rule, message })] }));
    });
    const contents = events.map((event) => {
      const { reportedOwner: _, ...details } = event.details;
      return JSON.stringify({ ...stored(event), details, resource: event.resource });
    });
    assertEquals([...new Set(contents)].length, 1, contents.join("\n"));
    const [first, second] = events as [DrawnEvent, DrawnEvent];
    assertEquals([first.resource?.kind, first.resource?.name], [top, scopes[0][1]]);
    assertEquals(first.message, `${top} ${scopes[0][1]} has no label. failed at path /metadata/`);
    assertEquals(second.details.reportedOwner, { kind: scopes[1][0], name: scopes[1][1] });
    assertEquals(first.details.reportedOwner, undefined);
    assert(kyverno.volatileDetails?.includes("reportedOwner"));
  });
}

Deno.test("kyverno draws one finding of another engine whose message names the ReplicaSet or Pod", () => {
  const said = (kind: string, name: string, words: string) =>
    only(report({
      scope: { kind, name, namespace: "shop" },
      results: [result({ source: "kubewarden", message: words })],
    })).identity;
  const names = (scopes: readonly (readonly [string, string])[], words: (name: string) => string) =>
    new Set(scopes.map(([kind, name]) => JSON.stringify(said(kind, name, words(name))))).size;
  for (const scopes of Object.values(SCOPES)) {
    assertEquals(names(scopes, (name) => `${name} runs as root`), 1);
    assertEquals(names(scopes.slice(1), (name) => `${scopes[0][1]}: ${name}: root, see ${name}.`), 1);
  }
  const inMessage = ["cart-55dbf95b8f", "cart-7dcd8749bc"].map((hash) =>
    JSON.stringify(said("Pod", "cart-55dbf95b8f-x2x4z", `runs as root, of ReplicaSet ${hash}`))
  );
  assertEquals(new Set(inMessage).size, 1, "no hash of a ReplicaSet");
  const two = ["web", "root"].map((word) => JSON.stringify(said("Pod", "cart-55dbf95b8f-x2x4z", word)));
  assertEquals(new Set(two).size, 2, "other messages are other findings");
});

Deno.test("kyverno keeps resources without owners as they are named", () => {
  const names = [
    ["Pod", "node-exporter-x2x4z"],
    ["Pod", "db-0"],
    ["Pod", "web-1"],
    ["ReplicaSet", "gateway-https"],
    ["ReplicaSet", "cache-tmpfs"],
    ["Job", "backup-20261101"],
    ["Job", "etl-202611291230"],
    ["Job", "old-1602000000"],
    ["Pod", "backup-20261101-x2x4z"],
    ["Deployment", "web-6d4cf56db6"],
    ["StatefulSet", "kafka-29921921"],
  ];
  for (const [kind = "", name = ""] of names) {
    const event = only(report({ scope: { kind, name, namespace: "shop" }, results: [result()] }));
    assertEquals([event.resource?.kind, event.resource?.name], [kind, name]);
    assertEquals(event.details.reportedOwner, undefined);
  }
});

Deno.test("kyverno distinguishes policies of different kinds if a result has no rule", () => {
  const of = (source: string, rule: string) =>
    JSON.stringify(only(report({ results: [result({ source, rule })] })).identity);
  const kinds = [
    "kyverno",
    "KyvernoValidatingPolicy",
    "KyvernoImageValidatingPolicy",
    "ValidatingAdmissionPolicy",
  ];
  assertEquals(new Set(kinds.map((kind) => of(kind, ""))).size, kinds.length);
  assertEquals(of("kyverno", ""), of("", ""));
  assertEquals(new Set(kinds.map((kind) => of(kind, "check"))).size, 1);
});

Deno.test("kyverno finds each result's resource: its own, else the scope, else the owner, else the namespace", () => {
  const owner = { ownerReferences: [{ apiVersion: "apps/v1", kind: "Deployment", name: "cart" }] };
  const resources = (body: Json) =>
    draw(body).events.map(({ resource }) => [resource?.kind, resource?.name, resource?.namespace]);
  const two = [{ kind: "Pod", name: "a", namespace: "other" }, { kind: "Pod", name: "b" }];
  assertEquals(resources(report({ results: [result({ resources: two })] })), [["Pod", "a", "other"], [
    "Pod",
    "b",
    "shop",
  ]]);
  assertEquals(resources(report({ results: [result({ resources: [] })] })), [["Pod", "web-1", "shop"]]);
  const owned = { scope: null, metadata: { name: "r", namespace: "shop", ...owner }, results: [result()] };
  assertEquals(resources(report(owned)), [["Deployment", "cart", "shop"]]);
  assertEquals(resources(report({ scope: null, results: [result()] })), [[undefined, undefined, "shop"]]);
});

Deno.test("kyverno distinguishes results without a resource by their report", () => {
  const of = (name: string) =>
    only(report({ scope: null, metadata: { name, namespace: "shop" }, results: [result()] })).identity;
  assertEquals([of("node-a").report, of("node-b").report], ["node-a", "node-b"]);
});

Deno.test("kyverno reads outcomes and severities: error is a LOW policy-error, an absent severity MEDIUM", () => {
  const rows = [
    [{ result: "fail" }, "policy-violation", "high"],
    [{ result: "WARN" }, "policy-violation", "high"],
    [{ result: "fail", severity: "" }, "policy-violation", "medium"],
    [{ result: "error" }, "policy-error", "low"],
  ] as const;
  for (const [fields, eventType, severity] of rows) {
    const event = only(report({ results: [result(fields)] }));
    assertEquals([event.eventType, event.severity], [eventType, severity]);
  }
  assertEquals(draw(report({ results: [result({ result: "pass" }), result({ result: "skip" })] })), {
    events: [],
    errors: [],
  });
});

Deno.test("kyverno stores results under its own name, a listed engine's, or policy-report", () => {
  const rows = [
    ["", undefined],
    ["kyverno", undefined],
    ["KyvernoImageValidatingPolicy", undefined],
    ["ValidatingAdmissionPolicy", undefined],
    ["MutatingAdmissionPolicy", undefined],
    ["Kubewarden", "kubewarden"],
    ["KubeArmor", "kubearmor"],
    ["Trivy", "policy-report"],
    ["Falco", "policy-report"],
    ["Kube Bench", "policy-report"],
    ["Trivy Vulnerability", "policy-report"],
    ["KubeArmor Policy Engine", "policy-report"],
    ["policy-report", "policy-report"],
    ["___", "policy-report"],
  ] as const;
  for (const [word, source] of rows) {
    const event = only(report({ results: [result({ source: word })] }));
    assertEquals(event.source, source, word);
    assertEquals(event.identity.engine, source === "policy-report" ? word.toLowerCase() : undefined, word);
    if (word !== "") assertEquals(event.details.engine, word);
  }
  assertEquals(
    only(report({ source: "Kubewarden", results: [result({ source: "" })] })).source,
    "kubewarden",
  );
});

Deno.test("kyverno never shows what a secret's rule matched in the reports of Trivy's adapter", () => {
  const match = "curl -H 'X: internal-host-7' slack **************** channel=#payroll";
  const fields = { policy: "Slack token", rule: "slack-access-token", result: "warn", message: match };
  const rows = [
    ["Trivy ExposedSecrets", "", {}],
    ["", "Trivy ExposedSecrets", {}],
    ["Trivy ExposedSecrets", "", { "1. message": match }],
  ] as const;
  for (const [source, of, properties] of rows) {
    const event = only(report({ source: of, results: [result({ ...fields, source, properties })] }));
    assertEquals(event.message, "Slack token: slack-access-token");
    assert(!JSON.stringify(event.details).includes("payroll"));
    // The match still tells two secrets of one rule apart.
    assertEquals(event.identity.message, match);
  }
  assertEquals(only(report({ results: [result({ ...fields, source: "tool" })] })).message, match);
});

Deno.test("kyverno distinguishes results of other engines by names in their messages, not by numbers that stand alone", () => {
  const of = (message: string) =>
    JSON.stringify(only(report({ results: [result({ source: "tool", message })] })).identity);
  const different = [
    ["Container 'app1' of Deployment 'web'", "Container 'app2' of Deployment 'web'"],
    ["worker-1 is not ready", "worker-2 is not ready"],
    ["volume data_1 is shared", "volume data_2 is shared"],
    ["host n1.example.com", "host n2.example.com"],
    ["uses apps/v1beta1", "uses apps/v1beta2"],
    ["CVE-2024-1 is known", "CVE-2024-2 is known"],
    ["port 8080-tcp is open", "port 9090-tcp is open"],
  ];
  for (const [one = "", two = ""] of different) assert(of(one) !== of(two), `${one} / ${two}`);
  const same = [
    ["10:00:17.1: Notice a shell, pid 7", "10:05:44.123: Notice a shell, pid 4711"],
    ["at 2026-11-30T06:00:00Z", "at 2026-11-30T07:12:34.567891Z"],
    ["at 2026-11-30 06:00:00 +0000 UTC", "at 2027-01-02 16:01:05 +0100 UTC"],
    ["listens on port 8080.", "listens on port 9090."],
    ["memory of 1,024Mi, 85% for 5m30s", "memory of 512Mi, 7% for 12s"],
    ["runs kernel v6.1.2", "runs kernel v6.12.10"],
    ["from 10.0.0.1:34567 (8)", "from 10.12.0.7:80 (12)"],
    ["session 550e8400-e29b-41d4-a716-446655440000", "session 7c9e6679-7425-40de-944b-e07fc1f90ae7"],
    ["at 0x7ffd1234, sha256:0123456789abcdef0", "at 0x7fff9876, sha256:fedcba98765432100"],
    ["(uid=1000 pid=7 res=-1)", "(uid=0 pid=12345 res=0)"],
  ];
  for (const [one = "", two = ""] of same) assertEquals(of(one), of(two));
});

Deno.test("kyverno reads the numbers of a message in linear time", () => {
  for (const unit of ["1:1,", "1.", "1-", "0x", "1s", "1a", "a-1", "abcdef012345-", "0,0:", "1".repeat(99)]) {
    assertLinear(
      unit,
      (text) => only(report({ results: [result({ source: "tool", message: `${text}x` })] })),
    );
  }
});

Deno.test("kyverno reads the properties of a result once, however many resources it names", () => {
  assertLinear("a", (text) => {
    const properties: JsonObject = {};
    for (let key = 0; key < text.length / 16; key++) properties[`key-${key}`] = text.slice(0, 1);
    const resources = Array.from(
      { length: text.length / 16 },
      (_, pod) => ({ kind: "Pod", name: `p-${pod}` }),
    );
    draw(report({ results: [result({ source: "tool", properties, resources })] }));
  });
});

Deno.test("kyverno shows the package, version, fix, link and every message of the results that Trivy's adapter writes", () => {
  const properties = {
    resource: "openssl",
    installedVersion: "3.0.11-1~deb12u2",
    fixedVersion: "3.0.13",
    primaryLink: "https://avd.aquasec.com/nvd/cve-2024-1",
  };
  const vulnerability = (message: string) =>
    only(
      report({ results: [result({ policy: "CVE-2024-1", rule: "", source: "tool", message, properties })] }),
    );
  const told = "openssl 3.0.11-1~deb12u2 (fixed in 3.0.13): Timing side-channel";
  assertEquals(vulnerability("openssl: Timing side-channel").message, told);
  assertEquals(vulnerability("Timing side-channel").message, told);
  assertEquals(
    vulnerability("Timing in openssl").message,
    "openssl 3.0.11-1~deb12u2 (fixed in 3.0.13): Timing in openssl",
  );
  const { details } = vulnerability("openssl: Timing side-channel");
  assertEquals([details.fixedVersion, details.primaryLink], [
    properties.fixedVersion,
    properties.primaryLink,
  ]);

  const messages = ["Container 'app' should set limits", "Container 'side' should set limits"];
  const check = (numbered: JsonObject) =>
    only(
      report({ results: [result({ source: "tool", message: "Limits prevent DoS", properties: numbered })] }),
    );
  const both = check({ "0. message": messages[0] ?? "", "1. message": messages[1] ?? "" });
  assertEquals([both.message, both.details.description], [messages.join("; "), "Limits prevent DoS"]);
  const turned = check({ "0. message": messages[1] ?? "", "1. message": messages[0] ?? "" });
  assertEquals(stored(turned), stored(both));
  assert(
    JSON.stringify(check({ "1. message": messages[0] ?? "" }).identity) !== JSON.stringify(both.identity),
  );
});

Deno.test("kyverno follows REPORT_ENGINES, which cannot contain the name of a built-in source", () => {
  const sourceOf = (engine: string, listed: string) => {
    const body = report({ results: [result({ source: engine })] });
    const [drawn] = drawnFrom(kyverno, { body, origin: { confined: false }, receivedAt: 0 }, {
      setting: settingsWith({ REPORT_ENGINES: listed }).of,
    });
    return drawn && "event" in drawn ? drawn.event.source : undefined;
  };
  assertEquals(sourceOf("My Scanner", "my-scanner"), "my-scanner");
  assertEquals(sourceOf("Kubewarden", "my-scanner"), "policy-report");
  assertEquals(sourceOf("trivy", "trivy"), "policy-report");
});

Deno.test("kyverno offers filters the policy, and the rule with and without its prefix", () => {
  assertEquals(only(report({ results: [result({ rule: "autogen-check" })] })).rules, [
    "labels",
    "labels/check",
    "labels/autogen-check",
  ]);
  assertEquals(only(report({ results: [result({ policy: "shop/labels", rule: "" })] })).rules, [
    "shop/labels",
  ]);
});

Deno.test("kyverno keeps readable findings, and reports the path of unreadable ones", () => {
  const { events, errors } = draw(
    report({
      results: [
        null,
        result(),
        { result: "fail" },
        result({ result: "maybe" }),
        result({ resources: "all" }),
      ],
    }),
  );
  assertEquals(events.length, 2);
  assertEquals(errors.map(({ reason, path }) => `${reason} ${path}`), [
    "wrong_shape results[0]",
    "missing_field results[2].policy",
    "invalid_value results[3].result",
    "wrong_shape results[4].resources",
  ]);
  assertEquals(draw(report({ results: {} })).errors.map(({ path }) => path), ["results"]);
  assertEquals(draw(report({})), { events: [], errors: [] });
});
