/**
 * Privileged containers as a real API server takes them: every form of request that adds one is `privileged-pod-creation`,
 * by what the API server itself records of it, with the answer and without.
 */
import { assert, assertEquals } from "@std/assert";
import { at, isObject, type Json, type JsonObject, list, textAt } from "../../src/model/json.ts";
import { audit } from "../../src/sources/audit/mod.ts";
import { startAuditSink } from "../support/audit_sink.ts";
import { startEnvtest } from "../support/envtest.ts";
import { eventually } from "../support/eventually.ts";
import { drawnFrom } from "../support/source_runtime.ts";

const LIST = "/spec/ephemeralContainers";
const APPLY = "application/apply-patch+yaml";
const JSON_PATCH = "application/json-patch+json";
const CONTEXT = { privileged: true };
const TAME = { name: "debug", image: "busybox", tty: true };
const PRIVILEGED = { ...TAME, securityContext: CONTEXT };

interface Form {
  readonly what: string;
  readonly contentType: string;
  readonly body: Json;
  readonly isPrivileged: boolean;
  /** True where the request alone does not show that it is not privileged. */
  readonly isUnclear?: true;
}

const FORMS: readonly Form[] = [
  ...["application/strategic-merge-patch+json", "application/merge-patch+json"].flatMap((contentType) =>
    [PRIVILEGED, TAME].map((container) => ({
      what: contentType,
      contentType,
      body: { spec: { ephemeralContainers: [container] } },
      isPrivileged: container === PRIVILEGED,
    }))
  ),
  ...[PRIVILEGED, TAME].map((container) => ({
    what: "server-side apply",
    contentType: APPLY,
    body: { apiVersion: "v1", kind: "Pod", spec: { ephemeralContainers: [container] } },
    isPrivileged: container === PRIVILEGED,
  })),
  patched("the list", true, { op: "add", path: LIST, value: [PRIVILEGED] }),
  patched("no flag", false, { op: "add", path: LIST, value: [TAME] }),
  patched(
    "a context in a step of its own",
    true,
    ...steps({
      op: "add",
      path: `${LIST}/0/securityContext`,
      value: CONTEXT,
    }),
  ),
  patched(
    "a word before the first slash",
    true,
    ...steps({
      op: "add",
      path: `x${LIST}/0/securityContext`,
      value: CONTEXT,
    }),
  ),
  patched(
    "the flag in a step of its own",
    true,
    ...steps(
      { op: "add", path: `${LIST}/0/securityContext`, value: {} },
      { op: "add", path: `${LIST}/0/securityContext/privileged`, value: true },
    ),
  ),
  patched(
    "a copied flag",
    true,
    ...steps(
      { op: "add", path: `${LIST}/0/securityContext`, value: {} },
      { op: "copy", from: `${LIST}/0/tty`, path: `${LIST}/0/securityContext/privileged` },
    ),
  ),
  patched(
    "a moved context",
    true,
    ...steps(
      { op: "add", path: "/metadata/annotations", value: CONTEXT },
      { op: "move", from: "/metadata/annotations", path: `${LIST}/0/securityContext` },
    ),
  ),
  patched(
    "a copied name",
    true,
    ...steps(
      { op: "copy", from: "/metadata/name", path: `${LIST}/0/name` },
      { op: "add", path: `${LIST}/0/securityContext`, value: CONTEXT },
    ),
  ),
  {
    ...patched(
      "a copied context that is not privileged",
      false,
      ...steps({
        op: "copy",
        from: "/spec/containers/0/securityContext",
        path: `${LIST}/0/securityContext`,
      }),
    ),
    isUnclear: true,
  },
  patched("a step that tests", false, { op: "add", path: LIST, value: [TAME] }, {
    op: "test",
    path: `${LIST}/0/name`,
    value: "debug",
  }),
];

function patched(what: string, isPrivileged: boolean, ...body: JsonObject[]): Form {
  return { what, contentType: JSON_PATCH, body, isPrivileged };
}

/** The steps after one that adds a container. */
function steps(...more: JsonObject[]): JsonObject[] {
  return [{ op: "add", path: LIST, value: [TAME] }, ...more];
}

Deno.test("audit finds every form in which an API server takes a privileged container", async () => {
  await using sink = startAuditSink();
  const { events } = sink;
  await using cluster = await startEnvtest({
    auditWebhookUrl: sink.url,
    auditPolicy: JSON.stringify({
      apiVersion: "audit.k8s.io/v1",
      kind: "Policy",
      omitStages: ["RequestReceived"],
      rules: [{
        level: "RequestResponse",
        resources: [{ group: "", resources: ["pods", "pods/ephemeralcontainers"] }],
      }],
    }),
  });
  const namespace = await cluster.createNamespace("debugged");
  const pods = `/api/v1/namespaces/${namespace}/pods`;
  const podOf = (name: string, securityContext: JsonObject) => ({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name },
    spec: { containers: [{ name: "c", image: "none", securityContext }] },
  });
  const expected = new Map<string, Pick<Form, "what" | "isPrivileged" | "isUnclear">>();
  for (const [index, form] of FORMS.entries()) {
    const { what, contentType, body, isPrivileged } = form;
    const name = `pod-${index}`;
    expected.set(name, form);
    await cluster.expect("POST", pods, { body: podOf(name, { privileged: false }) });
    const answer = await cluster.ask("PATCH", `${pods}/${name}/ephemeralcontainers?fieldManager=test`, {
      contentType,
      body,
    });
    assertEquals(answer.status, 200, `${what}: ${JSON.stringify(answer.body)}`);
    const [added] = list(at(answer.body, "spec", "ephemeralContainers"));
    assertEquals([what, at(added, "securityContext", "privileged") === true], [what, isPrivileged]);
  }
  for (const privileged of [true, false]) {
    const name = `applied-${privileged}`;
    expected.set(name, { what: "a Pod that server-side apply creates", isPrivileged: privileged });
    const answer = await cluster.ask("PATCH", `${pods}/${name}?fieldManager=test`, {
      contentType: APPLY,
      body: podOf(name, { privileged }),
    });
    assertEquals(answer.status, 201);
  }
  const recorded = await eventually("the audit events of all patches", () => {
    const patches = events.filter(({ verb }) => verb === "patch");
    return patches.length === expected.size ? patches : undefined;
  });
  for (const event of recorded) {
    const form = expected.get(textAt(event, "objectRef", "name"));
    assert(form && isObject(event.responseObject));
    const { what, isPrivileged, isUnclear } = form;
    const { responseObject: _, ...withoutAnswer } = event;
    const typeWhere = (isFound = false) => isFound ? "privileged-pod-creation" : "audit-event";
    assertEquals([what, eventTypeOf(event)], [what, typeWhere(isPrivileged)]);
    assertEquals([what, eventTypeOf(withoutAnswer)], [what, typeWhere(isPrivileged || isUnclear)]);
  }
});

function eventTypeOf(body: JsonObject): string {
  const [drawn] = drawnFrom(audit, { body, origin: { confined: false }, receivedAt: Date.now() });
  return drawn && "event" in drawn ? drawn.event.eventType : "no event";
}
