import { assert, assertEquals } from "@std/assert";
import type { Drawn, DrawnEvent } from "../../model/event.ts";
import type { Json, JsonObject } from "../../model/json.ts";
import { drawnFrom } from "../../../tests/support/source_runtime.ts";
import { audit } from "./mod.ts";

const OWN = "system:serviceaccount:zen-system:zen-watcher";

function drawn(body: Json, ownUser = OWN): Drawn[] {
  return drawnFrom(audit, { body, origin: { confined: false }, receivedAt: 0 }, { ownUser });
}

function events(body: Json, ownUser = OWN): DrawnEvent[] {
  return drawn(body, ownUser).map((item) => {
    if ("error" in item) throw new Error(`${item.error.path}: ${item.error.message}`);
    return item.event;
  });
}

/** A ResponseComplete of jane's. `target` is `verb group/resource/subresource`. */
function act(target: string, rest: JsonObject = {}): JsonObject {
  const [verb = "", ref = ""] = target.split(" ");
  const [apiGroup = "", resource = "", subresource = ""] = ref.split("/");
  return {
    auditID: "id-1",
    stage: "ResponseComplete",
    verb,
    user: { username: "jane" },
    objectRef: { resource, subresource, apiGroup, apiVersion: "v1", namespace: "shop", name: "x" },
    responseStatus: { code: 200 },
    ...rest,
  };
}

function verdict(body: JsonObject, ownUser = OWN): string {
  const [event] = events(body, ownUser);
  return event === undefined ? "no event" : event.drop ?? `${event.eventType} ${event.severity}`;
}

const pod = (kind: string, privileged: boolean) => ({
  spec: {
    containers: [{}],
    [kind]: [{ securityContext: { privileged: false } }, { securityContext: { privileged } }],
  },
});

Deno.test("audit judges by the first rule that applies, in the order of the contract", () => {
  const rbac = "rbac.authorization.k8s.io";
  const table: [string, JsonObject, string][] = [
    [`create ${rbac}/clusterroles`, {}, "rbac-change HIGH"],
    [`delete ${rbac}/rolebindings`, {}, "rbac-change HIGH"],
    [`get ${rbac}/roles`, {}, "not_relevant"],
    ["create mongodb.com/roles", {}, "not_relevant"],
    ["create /pods", { requestObject: pod("containers", true) }, "privileged-pod-creation HIGH"],
    ["create /pods", { requestObject: pod("initContainers", true) }, "privileged-pod-creation HIGH"],
    ["create /pods", { responseObject: pod("ephemeralContainers", true) }, "privileged-pod-creation HIGH"],
    ["create /pods", { requestObject: pod("containers", false) }, "not_relevant"],
    ["create /pods", {}, "not_relevant"],
    ["get /pods/exec", {}, "pod-exec HIGH"],
    ["create /pods/attach", {}, "pod-exec HIGH"],
    ["get /pods/portforward", {}, "pod-exec HIGH"],
    ["get /pods/log", {}, "not_relevant"],
    ["create /secrets", {}, "secret-access HIGH"],
    ["patch /configmaps", {}, "secret-access HIGH"],
    ["delete /secrets", {}, "secret-access HIGH"],
    ["list /secrets", {}, "not_relevant"],
    ["delete apps/deployments", {}, "resource-deletion HIGH"],
    ["deletecollection /pods", {}, "resource-deletion HIGH"],
    ["update apps/deployments", {}, "not_relevant"],
  ];
  for (const [target, rest, expected] of table) {
    assertEquals(verdict(act(target, rest)), expected, `${target} ${JSON.stringify(rest)}`);
  }
});

Deno.test("audit finds a privileged ephemeral container in every form of patch", () => {
  const target = "patch /pods/ephemeralcontainers";
  const debug = { name: "debugger", securityContext: { privileged: true } };
  for (
    const requestObject of [
      { spec: { ephemeralContainers: [debug] } },
      [{ op: "add", path: "/spec/ephemeralContainers/-", value: debug }],
      [{ op: "add", path: "/spec/ephemeralContainers", value: [debug] }],
      [{ op: "replace", path: "/spec", value: { ephemeralContainers: [debug] } }],
    ]
  ) {
    assertEquals(verdict(act(target, { requestObject })), "privileged-pod-creation HIGH");
  }
  const tame = {
    requestObject: { spec: { ephemeralContainers: [{}] } },
    responseObject: pod("containers", true),
  };
  assertEquals(verdict(act(target, tame)), "not_relevant");
});

Deno.test("audit reports every 401 and 403 as access-denied, and no other error", () => {
  const code = (status: number) => ({ responseStatus: { code: status } });
  assertEquals(verdict(act("delete /secrets", code(403))), "access-denied MEDIUM");
  assertEquals(verdict(act("get /pods", code(401))), "access-denied MEDIUM");
  for (const status of [400, 404, 409, 422, 500]) {
    assertEquals(verdict(act("delete /secrets", code(status))), "not_relevant");
  }
});

Deno.test("audit judges each request at the stage that settles it", () => {
  const at = (stage: string, target: string, code = 101) =>
    verdict(act(target, { stage, responseStatus: { code } }));
  assertEquals(at("RequestReceived", "delete /secrets"), "no event");
  assertEquals(at("ResponseStarted", "delete /secrets"), "no event");
  assertEquals(at("ResponseStarted", "get /pods/exec"), "pod-exec HIGH");
  assertEquals(at("ResponseStarted", "create /pods/portforward"), "pod-exec HIGH");
  assertEquals(at("ResponseComplete", "get /pods/exec"), "pod-exec HIGH");
  assertEquals(at("ResponseStarted", "list /nodes", 401), "access-denied MEDIUM");
  assertEquals(at("ResponseStarted", "list /nodes", 403), "no event");
  assertEquals(at("Panic", "delete /secrets", 0), "secret-access HIGH");
});

Deno.test("audit's identity is the auditID, so both stages of one session are one act", () => {
  const session = ["ResponseStarted", "ResponseComplete"].map((stage) => act("get /pods/exec", { stage }));
  const [started, complete] = events({ kind: "EventList", items: session });
  assertEquals(started?.identity, { auditID: "id-1" });
  assertEquals(complete?.identity, started?.identity);
  assertEquals(complete?.severity, started?.severity);
});

Deno.test("audit leaves out its own writes to its own group, leases and events, and keeps those of others", () => {
  const own = { user: { username: OWN } };
  assertEquals(verdict(act("delete zen.kube-zen.io/observations", own)), "own_write");
  assertEquals(
    verdict(act("create zen.kube-zen.io/observations", { ...own, responseStatus: { code: 403 } })),
    "own_write",
  );
  assertEquals(verdict(act("update coordination.k8s.io/leases", own)), "own_write");
  assertEquals(verdict(act("create events.k8s.io/events", own)), "own_write");
  assertEquals(verdict(act("delete /secrets", own)), "secret-access HIGH");
  assertEquals(verdict(act("delete zen.kube-zen.io/observations")), "resource-deletion HIGH");
  const nobody = { user: {}, stage: "ResponseStarted", responseStatus: { code: 401 } };
  assertEquals(verdict(act("create zen.kube-zen.io/observations", nobody), ""), "access-denied MEDIUM");
});

Deno.test("audit keeps no body, no query and no token", () => {
  const [event] = events(act("create /secrets", {
    requestURI: "/api/v1/namespaces/shop/secrets?token=hunter2",
    requestObject: { data: { password: "hunter2" } },
    responseObject: { metadata: { name: "made-up" }, data: { password: "hunter2" } },
    user: {
      username: "jane",
      groups: ["dev"],
      extra: { "authentication.kubernetes.io/credential-id": ["hunter2"] },
    },
    impersonatedUser: { username: "root" },
    annotations: { "authorization.k8s.io/decision": "allow", other: "hunter2" },
  }));
  assert(!JSON.stringify(event).includes("hunter2"));
  assertEquals(event?.details.requestURI, "/api/v1/namespaces/shop/secrets");
  assertEquals(event?.details.impersonatedUser, "root");
  assertEquals(event?.message, "jane as root create secrets shop/x (200)");
});

Deno.test("audit takes a made-up name from the answer and needs none", () => {
  const objectRef = { resource: "pods", namespace: "shop" };
  const named = events(act("create /pods", { objectRef, responseObject: { metadata: { name: "web-abc" } } }));
  assertEquals(named[0]?.resource, { apiVersion: "v1", kind: "Pod", name: "web-abc", namespace: "shop" });
  const nameless = events(act("list /pods", { objectRef, responseStatus: { code: 403 } }));
  assertEquals(nameless[0]?.resource, { apiVersion: "v1", kind: "Pod", namespace: "shop" });
});

Deno.test("audit takes a Namespace for cluster-scoped, and a path without an object for no resource", () => {
  const objectRef = { resource: "namespaces", namespace: "shop", name: "shop", apiVersion: "v1" };
  assertEquals(events(act("delete /namespaces", { objectRef }))[0]?.resource, {
    apiVersion: "v1",
    kind: "Namespace",
    name: "shop",
  });
  const path: JsonObject = {
    ...act("get /"),
    requestURI: "/metrics",
    user: {},
    responseStatus: { code: 403 },
  };
  delete path.objectRef;
  const [event] = events(path);
  assertEquals([event?.resource, event?.message], [
    undefined,
    "an unauthenticated client get /metrics (403)",
  ]);
});

Deno.test("audit reads lists, single events of every age, and documents one after another", () => {
  const item = act("delete /secrets");
  const list = { kind: "EventList", apiVersion: "audit.k8s.io/v1", items: [item] };
  const single = { kind: "Event", ...item };
  for (
    const [body, count] of [
      [list, 1],
      [{ items: [item, item] }, 2],
      [item, 1],
      [single, 1],
      [{ apiVersion: "audit.k8s.io/v1beta1", ...single }, 1],
      [[list, single, item], 3],
      [{ ...list, items: [] }, 0],
    ] as const
  ) assertEquals(events(body as Json).length, count);
});

Deno.test("audit yields an error for a body that is no audit event, and reads the rest", () => {
  const errors = (body: Json) =>
    drawn(body).map((item) => "error" in item ? `${item.error.reason} ${item.error.path}` : "event");
  const item = act("delete /secrets");
  assertEquals(errors({ kind: 0 }), ["wrong_shape "]);
  assertEquals(drawn({ kind: `\u001b[31m${"K".repeat(9_000)}` }), [{
    error: {
      reason: "wrong_shape",
      path: "",
      message: `expected kind Event or EventList, received ${"K".repeat(9_000)}`.slice(0, 256),
    },
  }]);
  assertEquals(errors(null), ["wrong_shape "]);
  assertEquals(errors({ kind: "Event", apiVersion: "v1" }), ["wrong_shape "]);
  assertEquals(errors({ kind: "EventList" }), ["wrong_shape items"]);
  assertEquals(errors({ kind: "EventList", items: [1, item, { stage: "Panic" }, { auditID: "a" }] }), [
    "wrong_shape items[0]",
    "event",
    "missing_field items[2].auditID",
    "missing_field items[3].stage",
  ]);
  assertEquals(errors([{ kind: "EventList", items: {} }, item]), ["wrong_shape [0].items", "event"]);
});
