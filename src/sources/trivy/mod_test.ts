import { assert, assertEquals, assertNotEquals } from "@std/assert";
import type { DrawnEvent } from "../../model/event.ts";
import type { Json, JsonObject } from "../../model/json.ts";
import type { PayloadError } from "../../model/outcome.ts";
import { DRAW_CONTEXT, drawnFrom } from "../../../tests/support/source_runtime.ts";
import { trivy } from "./mod.ts";

interface Drawing {
  readonly events: DrawnEvent[];
  readonly errors: PayloadError[];
}

function draw(body: Json): Drawing {
  const drawn = drawnFrom(trivy, { body, origin: { confined: false }, receivedAt: 0 });
  return {
    events: drawn.flatMap((item) => "event" in item ? [item.event] : []),
    errors: drawn.flatMap((item) => "error" in item ? [item.error] : []),
  };
}

interface Workload {
  readonly kind?: string;
  readonly owner: string;
  readonly ownerKind?: string;
  readonly container?: string;
}

function report(workload: Workload, content: JsonObject): JsonObject {
  const { kind = "VulnerabilityReport", owner, ownerKind = "ReplicaSet", container = "app" } = workload;
  return {
    apiVersion: "aquasecurity.github.io/v1alpha1",
    kind,
    metadata: {
      name: `${ownerKind.toLowerCase()}-${owner}-${container}`,
      namespace: "shop",
      uid: `uid-of-${owner}`,
      labels: {
        "trivy-operator.resource.kind": ownerKind,
        "trivy-operator.resource.name": owner,
        "trivy-operator.resource.namespace": "shop",
        "trivy-operator.container.name": container,
      },
    },
    report: { artifact: { repository: "shop/cart", tag: "1.0" }, ...content },
  };
}

function vulnerability(fields: JsonObject = {}): JsonObject {
  return {
    vulnerabilityID: "CVE-2024-1",
    resource: "openssl",
    installedVersion: "3.0.1",
    fixedVersion: "",
    severity: "HIGH",
    title: "A title",
    score: 7.5,
    ...fields,
  };
}

function onlyEvent(body: Json): DrawnEvent {
  const { events, errors } = draw(body);
  assertEquals([events.length, errors], [1, []]);
  return events[0] as DrawnEvent;
}

function identityOf(body: Json): JsonObject {
  return onlyEvent(body).identity;
}

Deno.test("trivy gives the same finding the same identity after a rollout, with another score, image, report and time", () => {
  const before = report({ owner: "cart-7d9c5b8f4" }, {
    vulnerabilities: [vulnerability()],
    updateTimestamp: "2024-01-01T00:00:00Z",
  });
  const after = report({ owner: "cart-6bdfb749d" }, {
    artifact: { repository: "shop/cart", tag: "1.1" },
    vulnerabilities: [vulnerability({ score: 9.8 })],
    updateTimestamp: "2025-01-01T00:00:00Z",
  });
  assertEquals(identityOf(before), identityOf(after));
});

Deno.test("trivy distinguishes packages, versions, purls, paths, files, containers and workloads", () => {
  const identities = [
    ...[{}, { resource: "libssl" }, { installedVersion: "3.0.2" }, { packagePURL: "pkg:deb/openssl" }].map((
      fields,
    ) => report({ owner: "cart-7d9c5b8f4" }, { vulnerabilities: [vulnerability(fields)] })),
    ...[{ packagePath: "a.jar" }, { target: "usr/bin/a", class: "lang-pkgs" }].map((fields) =>
      report({ owner: "cart-7d9c5b8f4" }, { vulnerabilities: [vulnerability(fields)] })
    ),
    report({ owner: "cart-7d9c5b8f4", container: "sidecar" }, { vulnerabilities: [vulnerability()] }),
    report({ owner: "cart", ownerKind: "StatefulSet" }, { vulnerabilities: [vulnerability()] }),
  ].map((body) => JSON.stringify(identityOf(body)));
  assertEquals(new Set(identities).size, identities.length);
});

Deno.test("trivy's identity of a system package does not contain the image", () => {
  const targets = [
    "shop/cart:1.0 (debian 12.1)",
    "shop/cart:1.1 (debian 12.2)",
    "docker.io/shop/cart:1.2 (amazon 2 (Karoo))",
    "docker.io/shop/cart:1.3 (amazon 2023.5.20240722 (Amazon Linux))",
    "docker.io/shop/cart:1.3",
    "index.docker.io/shop/cart@sha256:01",
  ].map((target) =>
    JSON.stringify(
      identityOf(
        report({ owner: "cart-7d9c5b8f4" }, {
          registry: { server: "index.docker.io" },
          vulnerabilities: [vulnerability({ target })],
        }),
      ),
    )
  );
  assertEquals(new Set(targets).size, 1, targets.join("\n"));
});

Deno.test("trivy reads one check in every spelling of its id, and lets filters use any of them", () => {
  const checks = ["KSV001", "KSV-0001", "AVD-KSV-0001", "ksv0001"].map((checkID) =>
    onlyEvent(
      report({ kind: "ConfigAuditReport", owner: "cart-7d9c5b8f4" }, {
        checks: [{ checkID, severity: "LOW", success: false, title: "T", messages: ["m"] }],
      }),
    )
  );
  assertEquals(new Set(checks.map((event) => JSON.stringify(event.identity))).size, 1);
  for (const event of checks) {
    for (const id of ["KSV001", "KSV-0001", "AVD-KSV-0001"]) {
      assert(event.rules.includes(id), `${event.rules} lacks ${id}`);
    }
  }
});

Deno.test("trivy draws a failed check once for its messages, whatever their order, and a passed one never", () => {
  const check = (messages: string[], success: Json = false) => ({
    checkID: "KSV011",
    severity: "LOW",
    success,
    messages,
  });
  const { events, errors } = draw(
    report({ kind: "ConfigAuditReport", owner: "cart-7d9c5b8f4" }, {
      checks: [
        check(["a", "b"]),
        check(["b", "a"]),
        check(["c"]),
        check(["d"], true),
        check([""]),
        check(["e"], "maybe"),
      ],
    }),
  );
  const identities = new Set(events.map((event) => JSON.stringify(event.identity)));
  assertEquals([events.length, identities.size], [4, 3]);
  assertEquals(errors.map(({ reason, path }) => `${reason} ${path}`), [
    "invalid_value report.checks[5].success",
  ]);
});

Deno.test("trivy names the Deployment in a check's messages, not its ReplicaSet", () => {
  const body = (owner: string) =>
    report({ kind: "ConfigAuditReport", owner }, {
      checks: [{
        checkID: "KSV001",
        severity: "MEDIUM",
        success: false,
        title: "T",
        messages: [`Container 'app' of ReplicaSet '${owner}' should not`],
      }],
    });
  const before = onlyEvent(body("cart-7d9c5b8f4"));
  const after = onlyEvent(body("cart-6bdfb749d"));
  assertEquals(before.identity, after.identity);
  assertEquals(before.message, "T: Container 'app' of Deployment 'cart' should not");
  assertEquals(after.message, before.message);
  assertEquals(before.details.reportedOwner, { kind: "ReplicaSet", name: "cart-7d9c5b8f4" });
  assert(trivy.volatileDetails?.includes("reportedOwner"));
});

Deno.test("trivy never copies what a secret's rule matched", () => {
  const event = onlyEvent(
    report({ kind: "ExposedSecretReport", owner: "cart-7d9c5b8f4" }, {
      secrets: [{
        ruleID: "github-pat",
        title: "GitHub",
        severity: "CRITICAL",
        target: "/a",
        match: "ghp_MATCHED",
      }],
    }),
  );
  assert(!JSON.stringify(event).includes("MATCHED"));
  assertEquals([event.rules, event.details.path], [["github-pat"], "/a"]);
});

Deno.test("trivy keeps readable findings, and reports the path of unreadable ones", () => {
  const { events, errors } = draw([
    report({ owner: "cart-7d9c5b8f4" }, {
      vulnerabilities: [7, vulnerability({ severity: { no: "word" } }), { title: "x" }],
    }),
    report({ owner: "cart-7d9c5b8f4" }, { vulnerabilities: "many" }),
    report({ owner: "cart-7d9c5b8f4" }, {}),
    report({ owner: "cart-7d9c5b8f4" }, { vulnerabilities: null }),
    { kind: "VulnerabilityReport" },
    { kind: "Pod" },
  ]);
  assertEquals(events.map((event) => event.severity), [null]);
  assertEquals(errors.map(({ reason, path }) => `${reason} ${path}`), [
    "wrong_shape [0].report.vulnerabilities[0]",
    "missing_field [0].report.vulnerabilities[2].vulnerabilityID",
    "wrong_shape [1].report.vulnerabilities",
    "missing_field [2].report.vulnerabilities",
    "missing_field [4].report",
    "wrong_shape [5].kind",
  ]);
});

Deno.test("trivy reads no compliance reports and no bills of material", () => {
  for (
    const kind of [
      "ClusterComplianceReport",
      "ClusterComplianceDetailReport",
      "SbomReport",
      "ClusterSbomReport",
    ]
  ) {
    assertEquals(draw({ kind, report: { checks: [{ checkID: "KSV001", success: false }] } }), {
      events: [],
      errors: [],
    });
  }
});

Deno.test("trivy notes why it does not read compliance reports and bills of material", () => {
  const payload = (kind: string) => ({
    body: { kind, report: { components: [] } },
    origin: { confined: true },
    receivedAt: 0,
  });
  const said = ["ClusterComplianceReport", "SbomReport"].map((kind) => [
    ...trivy.draw(payload(kind), DRAW_CONTEXT),
  ]);
  assertEquals(said, [
    [{ note: "skipped", why: "ClusterComplianceReport is a summary of others" }],
    [{ note: "skipped", why: "SbomReport lists packages and holds no findings" }],
  ]);
});

Deno.test("trivy says the fix and the package in its message", () => {
  const event = onlyEvent(
    report({ owner: "cart-7d9c5b8f4" }, {
      vulnerabilities: [vulnerability({ fixedVersion: "3.0.9", title: "openssl: A title" })],
    }),
  );
  assertEquals(event.message, "openssl 3.0.1 in app (fixed in 3.0.9): A title");
  assertNotEquals(event.details.score, undefined);
});

Deno.test("trivy reads when the operator deletes a report, and of what workload and container it is", () => {
  const scope = (annotations: JsonObject, ownerKind = "ReplicaSet", owner = "cart-7d9c5b8f4") => {
    const { metadata, ...rest } = report({ owner, ownerKind }, {});
    const created = { ...metadata as JsonObject, annotations, creationTimestamp: "2026-11-01T10:00:00Z" };
    return trivy.scopeOf?.({ ...rest, metadata: created });
  };
  const created = Date.parse("2026-11-01T10:00:00Z");
  const about = { workload: "shop/deployment/cart", part: "app" };
  const ttl = "trivy-operator.aquasecurity.github.io/report-ttl";
  const rows = [["24h0m0s", 86_400_000], ["1h30m", 5_400_000], ["1.5h", 5_400_000], ["90s", 90_000], [
    "500ms",
    500,
  ]] as const;
  for (const [text, ms] of rows) {
    assertEquals(scope({ [ttl]: text }), { ...about, expiresAt: created + ms }, text);
  }
  for (const text of ["0s", "0h0m0s", "", "24", "a day", "-1h", "h"]) {
    assertEquals(scope({ [ttl]: text }), about, text);
  }
  assertEquals(scope({}, "StatefulSet", "db")?.workload, "shop/statefulset/db");
});

Deno.test("trivy shows as many of a check's messages as fit into details and one more, and all of them identify it", () => {
  const messages = Array.from({ length: 1_000 }, (_, index) => `${"x".repeat(96)} ${index}`);
  const check = { checkID: "KSV001", success: false, severity: "HIGH", messages };
  const body = report({ kind: "ConfigAuditReport", owner: "web" }, { checks: [check] });
  const shown = onlyEvent(body).details?.["messages"];
  assert(Array.isArray(shown) && shown.length > 80 && shown.length < 90, "8 KiB of them");
  assertEquals(shown.join("").length > 8_192, true, "details say that they are truncated");
  const identity = identityOf(body)["messages"];
  assertEquals(Array.isArray(identity) && identity.length, 1_000);
});
