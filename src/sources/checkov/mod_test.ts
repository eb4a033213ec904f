import { assertEquals } from "@std/assert";
import type { DrawnEvent } from "../../model/event.ts";
import type { Json, JsonObject } from "../../model/json.ts";
import type { PayloadError } from "../../model/outcome.ts";
import { drawnFrom } from "../../../tests/support/source_runtime.ts";
import { checkov } from "./mod.ts";

function draw(body: Json, name = "checkov-results"): { events: DrawnEvent[]; errors: PayloadError[] } {
  const origin = { confined: false, namespace: "checkov", name };
  const drawn = drawnFrom(checkov, { body, origin, receivedAt: 0 });
  return {
    events: drawn.flatMap((item) => "event" in item ? [item.event] : []),
    errors: drawn.flatMap((item) => "error" in item ? [item.error] : []),
  };
}

function run(framework: string, ...failed: Json[]): JsonObject {
  return { check_type: framework, results: { failed_checks: failed } };
}

function check(fields: JsonObject = {}): JsonObject {
  return {
    check_id: "CKV_K8S_1",
    check_name: "Ensure",
    resource: "Pod.shop.web",
    file_path: "/a.yaml",
    severity: null,
    ...fields,
  };
}

Deno.test("checkov reads Kind.namespace.name at its first two dots, and no namespace for kinds that have none", () => {
  const resourceOf = (resource: string) => draw(run("kubernetes", check({ resource }))).events[0]?.resource;
  assertEquals(resourceOf("Pod.shop.web.app-web"), {
    apiVersion: "v1",
    kind: "Pod",
    name: "web.app-web",
    namespace: "shop",
  });
  assertEquals(resourceOf("ClusterRole.default.system:x.y"), {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "ClusterRole",
    name: "system:x.y",
  });
  assertEquals(resourceOf("FlowSchema.default.x")?.namespace, undefined);
  assertEquals(resourceOf("IPAddress.capi.x"), { kind: "IPAddress", name: "x", namespace: "capi" });
  assertEquals(resourceOf("Deployment.shop.web (container 0)")?.name, "web");
  assertEquals(resourceOf("Deployment.web"), undefined);
});

Deno.test("checkov reads the longer ids of kustomize: the overlay is a detail and part of the identity", () => {
  const rows: [
    named: string,
    overlay: string | undefined,
    kind?: string,
    name?: string,
    namespace?: string,
  ][] = [
    ["overlay:prod:Deployment.payments.api", "prod", "Deployment", "api", "payments"],
    ["base:Deployment.payments.api", "base", "Deployment", "api", "payments"],
    ["overlay:eu/v1.2:StatefulSet.shop.db", "eu/v1.2", "StatefulSet", "db", "shop"],
    ["base:ClusterRole.default.system:Reader.x", "base", "ClusterRole", "system:Reader.x"],
    ["overlay:prod:ClusterRoleBinding.default.app:web", "prod", "ClusterRoleBinding", "app:web"],
    ["overlay:kubernetes:Pod.default.web", "kubernetes", "Pod", "web", "default"],
    ["ClusterRole.default.base:Role.x", undefined, "ClusterRole", "base:Role.x"],
  ];
  const identities = new Set<string>();
  for (const [resource, overlay, kind, name, namespace] of rows) {
    const [event] = draw(run("kustomize", check({ resource }))).events;
    const found = event?.resource ?? {};
    assertEquals([found.kind, found.name, found.namespace], [kind, name, namespace], resource);
    assertEquals([event?.details.overlay, event?.details.resource], [overlay, resource]);
    identities.add(JSON.stringify(event?.identity));
  }
  assertEquals(identities.size, rows.length);
});

Deno.test("checkov reads a graph check's id as the workload whose template it is", () => {
  const nameOf = (resource: string, check_id: string) =>
    draw(run("kubernetes", check({ resource, check_id }))).events[0]?.resource?.name;
  assertEquals(nameOf("Pod.shop.web.app-web", "CKV2_K8S_6"), "web");
  assertEquals(nameOf("Pod.default.batch-check-job", "CKV2_K8S_6"), "batch-check-job");
  assertEquals(nameOf("RoleBinding.shop.reader.v1", "CKV2_K8S_5"), "reader.v1");
  assertEquals(nameOf("Pod.shop.web.app-web", "CKV_K8S_6"), "web.app-web");
});

Deno.test("checkov keeps an invalid object name in details only", () => {
  const names = ["RELEASE-NAME-web", "${NAME}", "{{name}}", "web_1", "-web", "a".repeat(254)];
  for (const name of names) {
    const resource = `Deployment.shop.${name}`;
    const [event] = draw(run("helm", check({ resource }))).events;
    assertEquals([event?.resource, event?.details.resource], [undefined, resource]);
  }
});

Deno.test("checkov has no resource for other frameworks: file and resource are in details", () => {
  const [event] = draw(
    run(
      "terraform",
      check({ check_id: "CKV_AWS_1", resource: "module.a.aws_s3_bucket.b", file_path: "/s3.tf" }),
    ),
  ).events;
  assertEquals(event?.resource, undefined);
  assertEquals([event?.details.resource, event?.details.file], ["module.a.aws_s3_bucket.b", "/s3.tf"]);
});

Deno.test("checkov's message names the file and lines, and what the Observation's resource does not say", () => {
  const rows: [framework: string, fields: JsonObject, message: string][] = [
    ["kubernetes", { file_line_range: [3, 9] }, "Ensure in /a.yaml:3-9"],
    ["kubernetes", { resource: "Pod.shop.web (container 0)" }, "Ensure (container 0) in /a.yaml"],
    ["kubernetes", { resource: "Pod.shop.{{ name }}" }, "Ensure: Pod.shop.{{ name }} in /a.yaml"],
    ["terraform", { resource: "aws_s3.b", file_path: "/s3.tf" }, "Ensure: aws_s3.b in /s3.tf"],
    ["dockerfile", { resource: "/Dockerfile.", file_path: "/Dockerfile" }, "Ensure in /Dockerfile"],
    ["dockerfile", { resource: "/Dockerfile.RUN", file_path: "/Dockerfile" }, "Ensure: RUN in /Dockerfile"],
    ["secrets", { resource: "25f6c3b715e2", file_line_range: [4, 5] }, "Ensure in /a.yaml:4-5"],
    ["terraform", { check_name: "", resource: "aws_s3.b", file_path: "" }, "CKV_K8S_1: aws_s3.b"],
  ];
  for (const [framework, fields, message] of rows) {
    assertEquals(draw(run(framework, check(fields))).events[0]?.message, message);
  }
});

function scanned(details: JsonObject, fields: JsonObject = {}): JsonObject {
  const { id = "CVE-2019-19844" } = details;
  return check({
    check_id: `CKV_${String(id).replaceAll("-", "_")}`,
    check_name: "SCA package scan",
    resource: "requirements.txt.django",
    file_path: "/requirements.txt",
    file_line_range: [0, 0],
    short_description: `${id} - django: 1.2`,
    vulnerability_details: {
      id,
      package_name: "django",
      package_version: "1.2",
      status: "fixed in 3.0.1, 2.2.9, 1.11.27",
      lowest_fixed_version: "1.11.27",
      severity: "critical",
      link: "https://nvd.nist.gov/vuln/detail/CVE-2019-19844",
      description: "Django before 1.11.27 allows account takeover. A crafted address is enough.",
      ...details,
    },
    ...fields,
  });
}

Deno.test("checkov says the package, version, fix and vulnerability of a package scan", () => {
  const [event] = draw(run("sca_package", scanned({}))).events;
  assertEquals(
    event?.message,
    "django 1.2 (fixed in 1.11.27) in /requirements.txt: Django before 1.11.27 allows account takeover.",
  );
  assertEquals(event?.rules, ["CVE-2019-19844", "CKV_CVE_2019_19844"]);
  assertEquals(event?.severity, "critical");
  assertEquals(event?.details, {
    checkID: "CKV_CVE_2019_19844",
    vulnerabilityID: "CVE-2019-19844",
    title: "Django before 1.11.27 allows account takeover.",
    package: "django",
    installedVersion: "1.2",
    fixedVersion: "1.11.27",
    description: "Django before 1.11.27 allows account takeover. A crafted address is enough.",
    primaryLink: "https://nvd.nist.gov/vuln/detail/CVE-2019-19844",
    framework: "sca_package",
    resource: "requirements.txt.django",
    file: "/requirements.txt",
  });
  const fixOf = (given: JsonObject) =>
    draw(run("sca_package", scanned(given))).events[0]?.details.fixedVersion;
  assertEquals(fixOf({ lowest_fixed_version: "N/A" }), undefined);
  assertEquals(fixOf({ lowest_fixed_version: null }), "3.0.1, 2.2.9, 1.11.27");
  assertEquals(fixOf({ lowest_fixed_version: null, status: "open" }), undefined);
  const messageOf = (given: JsonObject) => draw(run("sca_package", scanned(given))).events[0]?.message;
  assertEquals(
    messageOf({ lowest_fixed_version: "N/A", description: "" }),
    "django 1.2 (no fix) in /requirements.txt: SCA package scan",
  );
  assertEquals(
    messageOf({ id: "", license: "GPL-3.0", description: null }),
    "django 1.2 in /requirements.txt: License GPL-3.0",
  );
});

Deno.test("checkov distinguishes packages and versions of a package scan, not an image's tag, lines and fix", () => {
  const of = (details: JsonObject, file = "/requirements.txt") =>
    JSON.stringify(
      draw(run("sca_image", scanned(details, { file_path: file, resource: `${file}.django` }))).events[0]
        ?.identity,
    );
  const different = [of({}), of({ package_version: "2.0" }), of({ package_name: "flask" }), of({}, "/b.txt")];
  assertEquals(new Set(different).size, 4);
  assertEquals(of({ lowest_fixed_version: "4" }), of({}));
  const images = [
    "/Dockerfile (reg.io:5000/team/nginx:1.2 lines:1-2 (sha256:abc))",
    "/Dockerfile (reg.io:5000/team/nginx:1.3 lines:4-9 (sha256:def))",
    "/Dockerfile (reg.io:5000/team/nginx@sha256:012 (sha256:345))",
  ].map((file) => of({}, file));
  assertEquals(new Set(images).size, 1, images.join("\n"));
  assertEquals(of({}, "/Dockerfile (redis:7 lines:1-2 (sha256:abc))") === images[0], false);
});

Deno.test("checkov uses the check's severity if given, else MEDIUM", () => {
  assertEquals(
    draw(run("kubernetes", check(), check({ severity: "LOW" }))).events.map(({ severity }) => severity),
    ["medium", "LOW"],
  );
});

Deno.test("checkov keeps a finding's identity when lines move, and distinguishes resources, files and repositories", () => {
  const identity = (fields: JsonObject, name?: string) =>
    JSON.stringify(
      draw(run("dockerfile", check({ resource: "/Dockerfile.", file_path: "/Dockerfile", ...fields })), name)
        .events[0]?.identity,
    );
  assertEquals(identity({ file_line_range: [1, 2] }), identity({ file_line_range: [5, 9] }));
  const different = [
    identity({}),
    identity({ resource: "/Dockerfile.RUN" }),
    identity({ file_path: "/b/Dockerfile" }),
    identity({}, "other"),
  ];
  assertEquals(new Set(different).size, 4);
});

Deno.test("checkov gives a cluster's resource one identity whichever document reports it", () => {
  const of = (name: string) => draw(run("kubernetes", check()), name).events[0]?.identity;
  assertEquals(of("one"), of("two"));
});

Deno.test("checkov reads an object, a list, and the flat counts of a run that found nothing", () => {
  assertEquals(draw([run("kubernetes", check()), run("terraform", check())]).events.length, 2);
  assertEquals(draw({ passed: 0, failed: 0, checkov_version: "3" }), { events: [], errors: [] });
  assertEquals(draw([]), { events: [], errors: [] });
  assertEquals(draw({ check_type: "helm", results: {}, summary: { failed: 0 } }), { events: [], errors: [] });
});

Deno.test("checkov keeps readable findings, and reports the path of unreadable ones", () => {
  const { events, errors } = draw([
    run("kubernetes", check(), "x", {}),
    { check_type: "helm", results: { failed_checks: "x" } },
    { check_type: "helm", results: [] },
    { check_type: "helm", results: {}, summary: { failed: 3 } },
    { failed: 2 },
    null,
  ]);
  assertEquals(events.length, 1);
  assertEquals(errors.map(({ reason, path }) => `${reason} ${path}`), [
    "wrong_shape [0].results.failed_checks[1]",
    "missing_field [0].results.failed_checks[2].check_id",
    "wrong_shape [1].results.failed_checks",
    "wrong_shape [2].results",
    "missing_field [3].results.failed_checks",
    "missing_field [4].results",
    "wrong_shape [5]",
  ]);
});
