import { assert, assertEquals } from "@std/assert";
import type { DrawContext, Drawn, DrawnEvent } from "../../model/event.ts";
import type { Json, JsonObject } from "../../model/json.ts";
import { toObservation } from "../../pipeline/normalize.ts";
import { assertLinear } from "../../../tests/support/assert_linear.ts";
import { drawnFrom, runtimeFor, settingsWith } from "../../../tests/support/source_runtime.ts";
import { readSettings } from "../../settings.ts";
import { ownRequests } from "../own_requests.ts";
import { SOURCES } from "../registry.ts";
import { audit } from "./mod.ts";

const OWN = "system:serviceaccount:zen-system:zen-watcher";

const payloadOf = (body: Json) => ({ body, origin: { confined: false }, receivedAt: 0 });

function drawn(body: Json, context: Partial<DrawContext> = {}): Drawn[] {
  return drawnFrom(audit, payloadOf(body), { ownUser: OWN, ...context });
}

function events(body: Json, context: Partial<DrawContext> = {}): DrawnEvent[] {
  return drawn(body, context).map((item) => {
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

function verdict(body: JsonObject, context: Partial<DrawContext> = {}): string {
  const [event] = events(body, context);
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
    [
      "patch /pods",
      { requestObject: pod("containers", true), responseStatus: { code: 201 } },
      "privileged-pod-creation HIGH",
    ],
    [
      "patch /pods",
      { requestObject: pod("containers", false), responseStatus: { code: 201 } },
      "not_relevant",
    ],
    ["patch /pods", { requestObject: pod("containers", true) }, "not_relevant"],
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
    ["create zen.kube-zen.io/observationexceptions", {}, "exception-change MEDIUM"],
    ["delete zen.kube-zen.io/observationfilters", {}, "exception-change MEDIUM"],
    ["deletecollection zen.kube-zen.io/observationexceptions", {}, "exception-change MEDIUM"],
    ["patch zen.kube-zen.io/observationfilters/status", {}, "not_relevant"],
    ["get zen.kube-zen.io/observationexceptions", {}, "not_relevant"],
    ["patch other.io/observationfilters", {}, "not_relevant"],
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

Deno.test("audit finds the flag of an ephemeral container in whatever step of a JSON patch or answer sets it", () => {
  const list = "/spec/ephemeralContainers";
  const added = { op: "add", path: `${list}/-`, value: { name: "x", image: "busybox", tty: true } };
  const flag = { privileged: true };
  const patch = (...steps: JsonObject[]) => ({ requestObject: [added, ...steps] });
  const answer = (...ephemeralContainers: JsonObject[]) => ({
    responseObject: { spec: { containers: [], ephemeralContainers } },
  });
  const x = { name: "x", image: "busybox", securityContext: flag };
  const old = { name: "old", image: "old", securityContext: flag };
  const tame = { name: "x", image: "busybox" };
  const rows: [what: string, bodies: JsonObject, containers: string[] | undefined, images?: string[]][] = [
    ["a context", patch({ op: "add", path: `${list}/0/securityContext`, value: flag }), ["x"]],
    ["a replaced one", patch({ op: "replace", path: `${list}/0/securityContext`, value: flag }), ["x"]],
    ["the flag", patch({ op: "add", path: `${list}/0/securityContext/privileged`, value: true }), ["x"]],
    ["any first word", patch({ op: "add", path: `a${list}/0/securityContext`, value: flag }), ["x"]],
    [
      "a copied word",
      patch({ op: "copy", from: `${list}/0/tty`, path: `${list}/0/securityContext/privileged` }),
      ["x"],
    ],
    ["a moved context", patch({ op: "move", from: "/a", path: `${list}/0/securityContext` }), ["x"]],
    [
      "a copied container",
      { requestObject: [{ op: "copy", from: "/spec/containers/0", path: `${list}/-` }] },
      [],
      [],
    ],
    ["the answer", { ...patch(), ...answer(old, x) }, ["x"]],
    ["the answer to a merge patch", {
      requestObject: { spec: { ephemeralContainers: [tame] } },
      ...answer(x),
    }, [
      "x",
    ]],
    ["the answer to a copied name", {
      requestObject: [
        { op: "copy", from: "/spec/containers/0", path: `${list}/-` },
        { op: "copy", from: "/metadata/name", path: `${list}/0/name` },
      ],
      ...answer(x),
    }, ["x"]],
    ["a name in its own step", {
      requestObject: [
        { op: "add", path: list, value: [{ image: "busybox" }] },
        { op: "add", path: `${list}/0/name`, value: "x" },
      ],
      ...answer(old, x),
    }, ["x"]],
    ["the whole Pod", {
      requestObject: [{ op: "replace", path: "", value: { spec: { ephemeralContainers: [x] } } }],
    }, [
      "x",
    ]],
    ["the answer alone", answer(x), ["x"]],
    ["no flag", patch(), undefined],
    ["no flag in the answer", { ...patch(), ...answer(old, tame) }, undefined],
    ["a copy that the answer shows to be harmless", {
      ...patch({ op: "copy", from: `${list}/0/tty`, path: `${list}/0/securityContext/runAsNonRoot` }),
      ...answer(tame),
    }, undefined],
    ["a test", patch({ op: "test", path: `${list}/0/securityContext`, value: flag }), undefined],
    ["a tested container", patch({ op: "test", path: `${list}/0`, value: old }), undefined],
    ["a removal", patch({ op: "remove", path: `${list}/0/securityContext`, value: flag }), undefined],
    [
      "a flag that is off",
      patch({
        op: "add",
        path: `${list}/0/securityContext`,
        value: { privileged: false },
      }),
      undefined,
    ],
    [
      "a copied image",
      patch({ op: "copy", from: "/spec/containers/0/image", path: `${list}/0/image` }),
      undefined,
    ],
    ["another field", patch({ op: "add", path: `${list}/0/env/0/privileged`, value: true }), undefined],
    ["a label", patch({ op: "copy", from: "/metadata/labels/a", path: "/metadata/labels/b" }), undefined],
  ];
  for (const [what, bodies, containers, images = ["busybox"]] of rows) {
    const [event] = events(act("patch /pods/ephemeralcontainers", bodies));
    const wanted = containers ? "privileged-pod-creation" : "audit-event";
    assertEquals([what, event?.eventType], [what, wanted]);
    if (!containers) continue;
    assertEquals([what, event?.details.containers ?? []], [what, containers]);
    assertEquals([what, event?.details.images ?? []], [what, images]);
  }
  const [copied] = events(act("patch /pods/ephemeralcontainers", {
    requestObject: [{ op: "copy", from: "/spec/containers/0", path: `${list}/-` }],
  }));
  assertEquals(
    copied?.message,
    "jane was allowed to patch pods/ephemeralcontainers shop/x with privileged container (200)",
  );
});

Deno.test("audit names the privileged containers of request and answer, each once", () => {
  const privileged = (name: string, image: string) => ({
    name,
    image,
    securityContext: { privileged: true },
  });
  const [event] = events(act("create /pods", {
    requestObject: { spec: { containers: [privileged("app", "app:1")] } },
    responseObject: {
      spec: {
        containers: [privileged("app", "app@sha256:1")],
        initContainers: [privileged("mesh", "mesh:1")],
      },
    },
  }));
  assertEquals([event?.details.containers, event?.details.images], [["app", "mesh"], ["app:1", "mesh:1"]]);
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

/** How many Observations the acts make. */
function distinct(acts: readonly JsonObject[]): number {
  const runtime = runtimeFor(audit);
  const payload = payloadOf({ kind: "EventList", items: [...acts] });
  return new Set(events(payload.body).map((event) => runtime.normalize(event, payload).fingerprint)).size;
}

const at = (second: number) => ({ requestReceivedTimestamp: `2026-11-29T13:00:${10 + second}.000001Z` });
const ten = (make: (index: number) => JsonObject) => Array.from({ length: 10 }, (_, index) => make(index));

Deno.test("audit takes both stages of one session for one act", () => {
  const session = ["ResponseStarted", "ResponseComplete"].map((stage) =>
    act("get /pods/exec", { stage, ...at(0), stageTimestamp: `${stage} is later` })
  );
  assertEquals(distinct(session), 1);
  const isLater = (target: string, stage: string) => events(act(target, { stage }))[0]?.isLaterStage ?? false;
  assertEquals(isLater("get /pods/exec", "ResponseStarted"), false);
  for (const stage of ["ResponseComplete", "Panic"]) {
    assertEquals([isLater("get /pods/attach", stage), isLater("delete /secrets", stage)], [true, false]);
  }
});

Deno.test("audit keeps ten acts under one Audit-ID header apart", () => {
  const uri = (index: number) => ({ requestURI: `/api/v1/namespaces/shop/secrets/s${index}` });
  assertEquals(distinct(ten((index) => act("delete /secrets", at(index)))), 10);
  assertEquals(distinct(ten((index) => act("delete /secrets", uri(index)))), 10);
  assertEquals(distinct(ten((index) => act("delete /secrets", { user: { username: `jane-${index}` } }))), 10);
  assertEquals(distinct([act("delete /secrets"), act("patch /secrets")]), 2);
  assertEquals(distinct(ten(() => act("delete /secrets", { ...uri(1), ...at(1) }))), 1);
});

Deno.test("audit drops the requests that zen-watcher sends, and keeps all others of its user", () => {
  const own = (namespace: string, name: string, rest: JsonObject = {}) => ({
    user: { username: OWN },
    objectRef: { namespace, name, ...rest },
  });
  const by = (target: string, { user, objectRef }: { user: JsonObject; objectRef: JsonObject }) => {
    const base = act(target, { user });
    return { ...base, objectRef: { ...base.objectRef as JsonObject, ...objectRef } };
  };
  const refused = { responseStatus: { code: 403 } };
  const asked = (requestURI: string) => ({
    ...act("get", { user: { username: OWN }, requestURI }),
    objectRef: {},
  });
  const zen = "zen.kube-zen.io";
  const table: [JsonObject, string][] = [
    [by(`delete ${zen}/observations`, own("shop", "falco-1")), "own_request"],
    [{ ...by(`create ${zen}/observations`, own("shop", "falco-1")), ...refused }, "own_request"],
    [by(`patch ${zen}/observations/status`, own("shop", "falco-1")), "own_request"],
    [{ ...by("list aquasecurity.github.io/vulnerabilityreports", own("", "")), ...refused }, "own_request"],
    [{ ...by("watch /configmaps", own("kube-bench", "")), ...refused }, "own_request"],
    [
      by("update coordination.k8s.io/leases", own("zen-system", "zen-watcher-leader-election")),
      "own_request",
    ],
    [by("create /events", own("zen-system", "e")), "own_request"],
    [by("create authentication.k8s.io/selfsubjectreviews", own("", "")), "own_request"],
    [{ ...asked("/apis?timeout=32s"), ...refused }, "own_request"],
    [{ ...asked("/apis/aquasecurity.github.io/v1alpha1"), ...refused }, "own_request"],
    [{ ...asked("/api/v1"), ...refused }, "own_request"],
    [{ ...asked("/logs/"), ...refused }, "access-denied MEDIUM"],
    [{ ...asked("/apis/x/v1/secrets"), ...refused }, "access-denied MEDIUM"],
    [{ ...asked("/apis"), verb: "post", ...refused }, "access-denied MEDIUM"],
    [by(`deletecollection ${zen}/observations`, own("shop", "")), "resource-deletion HIGH"],
    [
      by("delete coordination.k8s.io/leases", own("zen-system", "zen-watcher-leader-election")),
      "resource-deletion HIGH",
    ],
    [
      { ...by("update coordination.k8s.io/leases", own("kube-system", "scheduler")), ...refused },
      "access-denied MEDIUM",
    ],
    [{ ...by("list /secrets", own("", "")), ...refused }, "access-denied MEDIUM"],
    [{ ...by("list /configmaps", own("shop", "")), ...refused }, "access-denied MEDIUM"],
    [by("delete apps/deployments", own("shop", "web")), "resource-deletion HIGH"],
    [by("get /pods/exec", own("shop", "web")), "pod-exec HIGH"],
    [by(`create ${zen}/observationexceptions`, own("shop", "x")), "exception-change MEDIUM"],
    [
      { ...by(`delete ${zen}/observations`, own("shop", "x")), impersonatedUser: { username: "root" } },
      "resource-deletion HIGH",
    ],
    [act(`delete ${zen}/observations`), "resource-deletion HIGH"],
  ];
  for (const [body, expected] of table) assertEquals(verdict(body), expected, JSON.stringify(body));
  const nobody = { user: {}, stage: "ResponseStarted", responseStatus: { code: 401 } };
  assertEquals(verdict(act(`create ${zen}/observations`, nobody), { ownUser: "" }), "access-denied MEDIUM");
});

Deno.test("audit drops the reads of an Ingester's source once the Ingester is active", () => {
  const feeds = [{
    type: "watch" as const,
    resources: [{ group: "x.io", version: "v1", plural: "scans", kind: "Scan", namespaced: true }],
  }];
  const scans = act("list x.io/scans", { user: { username: OWN }, responseStatus: { code: 403 } });
  const isOwnRequest = ownRequests(readSettings(() => undefined), [...SOURCES, {
    ...audit,
    name: "scans",
    feeds,
  }]);
  assertEquals([verdict(scans), verdict(scans, { isOwnRequest })], ["access-denied MEDIUM", "own_request"]);
});

Deno.test("audit drops the reads of the Secret that an Ingester names, and of no other", () => {
  const secretRef = { namespace: "zen-system", name: "hook" };
  const hook = {
    ...audit,
    name: "hook",
    feeds: [{
      type: "post" as const,
      path: "/hook",
      auth: { type: "hmac" as const, secretRef, secret: () => undefined },
    }],
  };
  const isOwnRequest = ownRequests(readSettings(() => undefined), [...SOURCES, hook]);
  const refused = (verb: string, where: JsonObject) =>
    verdict({
      ...act(`${verb} /secrets`, { user: { username: OWN }, responseStatus: { code: 403 } }),
      objectRef: { resource: "secrets", apiVersion: "v1", ...where },
    }, { isOwnRequest });
  assertEquals(refused("get", secretRef), "own_request");
  for (
    const [verb, where] of [
      ["get", { ...secretRef, name: "other" }],
      ["get", { ...secretRef, namespace: "shop" }],
      ["get", { ...secretRef, subresource: "x" }],
      ["list", { namespace: "zen-system" }],
      ["watch", { namespace: "zen-system" }],
      ["patch", secretRef],
    ] as const
  ) assertEquals(refused(verb, where), "access-denied MEDIUM", `${verb} ${JSON.stringify(where)}`);
});

Deno.test("audit drops dry runs of writes, and of deletions only if the body says so", () => {
  const query = { requestURI: "/x?dryRun=All&fieldManager=kubectl" };
  const body = { requestObject: { kind: "DeleteOptions", dryRun: ["All"] } };
  for (const target of ["create /secrets", "update /configmaps", "patch rbac.authorization.k8s.io/roles"]) {
    assertEquals(verdict(act(target, query)), "not_relevant");
    assertEquals(verdict(act(target, { ...query, responseStatus: { code: 403 } })), "access-denied MEDIUM");
    assertEquals(verdict(act(target, { requestURI: "/x?dryRun=" })) === "not_relevant", false);
  }
  for (const target of ["delete /secrets", "deletecollection apps/deployments"]) {
    const [unproven] = events(act(target, query));
    assertEquals([unproven?.drop, unproven?.details.dryRun], [undefined, "unproven"]);
    const [overridden] = events(act(target, { ...query, requestObject: { kind: "DeleteOptions" } }));
    assertEquals([overridden?.drop, overridden?.details.dryRun], [undefined, "unproven"]);
    assertEquals(verdict(act(target, body)), "not_relevant");
    assertEquals(verdict(act(target, { ...body, ...query })), "not_relevant");
    assertEquals("dryRun" in (events(act(target))[0]?.details ?? {}), false);
  }
  for (const subresource of ["exec", "attach", "portforward"]) {
    const requestURI = "/api/v1/namespaces/shop/pods/x/exec?dryRun=All&command=sh";
    assertEquals(verdict(act(`create /pods/${subresource}`, { requestURI })), "pod-exec HIGH");
  }
});

Deno.test("audit keeps requests that the authorizer refused, and drops those that admission or a quota refused", () => {
  const refused = (decision?: string) =>
    verdict(act("create /pods", {
      responseStatus: { code: 403, reason: "Forbidden" },
      ...(decision !== undefined && { annotations: { "authorization.k8s.io/decision": decision } }),
    }));
  assertEquals([refused("allow"), refused("forbid"), refused()], [
    "not_relevant",
    "access-denied MEDIUM",
    "access-denied MEDIUM",
  ]);
});

Deno.test("audit drops requests of the control plane that a starting API server refuses, and none of others", () => {
  const starting = Date.parse("2026-11-29T13:00:00Z");
  const context = { isApiServerStarting: (at: number) => at === starting };
  const refused = (username: string, rest: JsonObject = {}) =>
    verdict(
      act("list /services", {
        user: { username },
        stageTimestamp: "2026-11-29T13:00:00Z",
        responseStatus: { code: 403 },
        ...rest,
      }),
      context,
    );
  const controller = "system:serviceaccount:kube-system:resourcequota-controller";
  for (const user of ["system:kube-scheduler", "system:apiserver", "system:node:n1", controller]) {
    assertEquals(refused(user), "api_server_starting");
    assertEquals(refused(user, { stageTimestamp: "2026-11-29T13:09:00Z" }), "access-denied MEDIUM");
    assertEquals(refused(user, { impersonatedUser: { username: "root" } }), "access-denied MEDIUM");
  }
  for (
    const user of [
      "jane",
      "system:anonymous",
      "system:serviceaccount:shop:web",
      "system:serviceaccount:kube-systems:x",
      "not-system:node:n1",
    ]
  ) {
    assertEquals(refused(user), "access-denied MEDIUM");
  }
});

Deno.test("audit counts the repeats of a program in one Observation, and every act of a person as one", () => {
  const by = (user: JsonObject | string, target: string, rest: (index: number) => JsonObject = () => ({})) =>
    distinct(
      ten((index) =>
        act(target, {
          user: typeof user === "string" ? { username: user } : user,
          ...at(index),
          ...rest(index),
        })
      ),
    );
  const controller = "system:serviceaccount:kube-system:job-controller";
  const pods = (index: number) => ({
    objectRef: { resource: "pods", namespace: "shop", name: `web-7f8d9c6b5d-x2k4${"bcdfghjklm"[index]}` },
  });
  const secrets = (index: number) => ({
    objectRef: { resource: "secrets", namespace: "shop", name: `s-${index}` },
  });
  const commands = (index: number) => ({ requestURI: `/x?container=c&command=cat&command=%2F${index}` });
  const images = (index: number) => ({
    requestObject: {
      spec: { containers: [{ name: "c", image: `i:${index}`, securityContext: { privileged: true } }] },
    },
  });
  for (const program of [controller, "system:node:n1", "system:kube-scheduler", "system:apiserver"]) {
    assertEquals(by(program, "patch /configmaps"), 1);
    assertEquals(by(program, "delete /pods", pods), 1);
    assertEquals(by(program, "delete /secrets", secrets), 10, "other Secrets are other acts");
    assertEquals(by(program, "get /pods/exec", commands), 10, "other commands are other acts");
    assertEquals(by(program, "create /pods", images), 10, "other images are other acts");
  }
  const first = (rest: JsonObject) => (index: number) => index === 0 ? rest : {};
  const unproven = { requestURI: "/api/v1/namespaces/shop/secrets/x?dryRun=All" };
  assertEquals(by(controller, "delete /secrets", first(unproven)), 2, "a deletion is no repeat of a dry run");
  assertEquals(by(controller, "delete /secrets", first({ responseStatus: {} })), 2, "an unknown outcome");
  const loopback = { username: "system:apiserver", groups: ["system:masters"] };
  assertEquals(by(loopback, "patch /configmaps"), 1);
  for (
    const person of [
      { username: "jane" },
      { username: "system:admin" },
      { username: controller, groups: ["system:masters"] },
      { username: "system:node", groups: [] },
    ]
  ) assertEquals(by(person, "patch /configmaps"), 10);
  assertEquals(by(controller, "patch /configmaps", () => ({ impersonatedUser: { username: "jane" } })), 10);
  const [repeat] = events(act("patch /configmaps", { user: { username: controller } }));
  const [single] = events(act("patch /configmaps"));
  assertEquals([repeat?.windowMs, single?.windowMs], [3_600_000, Infinity]);
});

Deno.test("audit counts refusals by user, or by the connection's address without a login", () => {
  const refused = (rest: (index: number) => JsonObject, code = 403, target = "list /secrets") =>
    distinct(ten((index) => act(target, { responseStatus: { code }, ...at(index), ...rest(index) })));
  const from = (...sourceIPs: string[]) => ({ user: {}, stage: "ResponseStarted", sourceIPs });
  assertEquals(refused(() => ({})), 1);
  assertEquals(refused((index) => ({ user: { username: `u${index}` } })), 10);
  const named = (index: number) => ({
    objectRef: { resource: "secrets", namespace: "shop", name: `s${index}` },
  });
  const placed = (index: number) => ({ objectRef: { resource: "secrets", namespace: `n${index}` } });
  assertEquals([refused(named), refused(placed)], [1, 10]);
  assertEquals(refused((index) => ({ ...from(`192.0.2.${index}`, "10.0.0.9"), ...placed(index) }), 401), 1);
  assertEquals(refused((index) => from("192.0.2.1", `10.0.0.${index}`), 401), 10);
  const anonymous = { user: { username: "system:anonymous" }, sourceIPs: ["10.0.0.9"] };
  assertEquals(refused((index) => ({ ...anonymous, requestURI: `/x/${index}` })), 1);
  const [event] = events(act("list /secrets", { ...from("10.0.0.9"), responseStatus: { code: 401 } }));
  assertEquals(event?.resource, { apiVersion: "v1", kind: "Secret" });
  assertEquals(event?.windowMs, 3_600_000);
});

Deno.test("audit counts the refusals of a client without a login by kinds that Kubernetes has, not by words it makes up", () => {
  const refused = (objectRef: (index: number) => JsonObject, rest: JsonObject) =>
    ten((index) => act("list /x", { ...rest, ...at(index), objectRef: objectRef(index) }));
  for (
    const rest of [
      { user: {}, stage: "ResponseStarted", sourceIPs: ["10.0.0.9"], responseStatus: { code: 401 } },
      { user: { username: "system:anonymous" }, sourceIPs: ["10.0.0.9"], responseStatus: { code: 403 } },
    ]
  ) {
    const madeUp: ((index: number) => JsonObject)[] = [
      (index) => ({ resource: `x${index}`, apiVersion: "v1" }),
      (index) => ({ resource: "secrets", apiGroup: `g${index}.io`, apiVersion: "v1" }),
      (index) => ({ resource: "secrets", apiVersion: `v${index}` }),
      (index) => ({ resource: "pods", subresource: `s${index}`, apiVersion: "v1" }),
      (index) => ({ resource: "deployments", apiGroup: "apps", apiVersion: `v${index}` }),
      (index) => ({ resource: index % 2 ? "secretS" : "Secrets", apiVersion: "v1" }),
    ];
    for (const [row, objectRef] of madeUp.entries()) {
      assertEquals([row, distinct(refused(objectRef, rest))], [row, 1]);
    }
    const known = ["secrets", "pods", "deployments", "nodes"];
    const built = (index: number) => ({
      resource: known[index % 4] ?? "",
      apiGroup: index % 4 === 2 ? "apps" : "",
      apiVersion: "v1",
    });
    assertEquals(distinct(refused(built, rest)), 4);
    const resources = refused((index) => ({ resource: "x", apiVersion: `v${index}` }), rest)
      .map((body) => events(body)[0]?.resource);
    assertEquals(resources, ten(() => ({})).map(() => undefined));
  }
});

Deno.test("audit knows the connection's address by the last of any number of sourceIPs, and shows it", () => {
  const claimed = (count: number, second: number) =>
    Array.from({ length: count }, (_, index) => `10.${second}.${index >> 8}.${index & 255}`);
  for (const count of [0, 15, 16, 999, 1_000, 1_001, 5_000]) {
    const flood = ten((index) =>
      act("list /secrets", {
        ...at(index),
        user: {},
        stage: "ResponseStarted",
        sourceIPs: [...claimed(count, index), "192.0.2.7"],
        responseStatus: { code: 401 },
      })
    );
    assertEquals([count, distinct(flood)], [count, 1]);
    const [first] = events(flood[0] ?? null);
    assertEquals([first?.details.sourceIPs].flat().at(-1), "192.0.2.7");
    assertEquals([count, first?.details.truncated], [count, count >= 16 ? true : undefined]);
    assert(first?.message.startsWith("a client at 192.0.2.7 without a valid login "));
  }
});

Deno.test("audit says each thing once in the message of an act or a refusal", () => {
  const cannot = (rest: string) => ({ code: 403, message: `x is forbidden: User "jane" cannot ${rest}` });
  const secrets = (namespace: string, name = "") => ({ objectRef: { resource: "secrets", namespace, name } });
  const rows: [act: JsonObject, message: string][] = [
    [act("patch apps/deployments"), "jane was allowed to patch Deployment shop/x (200)"],
    [act("patch apps/deployments/scale"), "jane was allowed to patch deployments/scale shop/x (200)"],
    [
      act("deletecollection /pods", { objectRef: { resource: "pods", namespace: "shop" } }),
      "jane was allowed to deletecollection pods in shop (200)",
    ],
    [
      {
        ...act("list", secrets("")),
        responseStatus: cannot('list resource "secrets" in API group "" at the cluster scope'),
      },
      "jane was not allowed to list secrets at the cluster scope (403)",
    ],
    [
      {
        ...act("list", secrets("shop")),
        responseStatus: cannot('list resource "secrets" in API group "" in the namespace "shop"'),
      },
      "jane was not allowed to list secrets in shop (403)",
    ],
    [
      {
        ...act("get", secrets("shop", "db")),
        responseStatus: cannot(
          'get resource "secrets" in API group "" in the namespace "shop": no relationship found',
        ),
      },
      "jane was not allowed to get Secret shop/db (403): no relationship found",
    ],
    [
      {
        ...act("get", { objectRef: {}, requestURI: "/logs/?x" }),
        responseStatus: cannot('get path "/logs/"'),
      },
      "jane was not allowed to get /logs/ (403)",
    ],
    [
      {
        ...act("list", secrets("shop")),
        impersonatedUser: { username: "bob" },
        responseStatus: { code: 403, message: 'users "bob" is forbidden: User "jane" cannot impersonate' },
      },
      'jane as bob was not allowed to list secrets in shop (403): users "bob" is forbidden: User "jane" cannot impersonate',
    ],
    [
      act("list /nodes", {
        user: {},
        sourceIPs: ["10.0.0.9"],
        responseStatus: { code: 401, message: "Unauthorized" },
      }),
      "a client at 10.0.0.9 without a valid login was not allowed to list nodes (401)",
    ],
  ];
  for (const [body, message] of rows) assertEquals(events(body)[0]?.message, message);
});

Deno.test("audit shows container, command and ports of a session, and with AUDIT_COMMANDS=program the program alone", () => {
  const session = (subresource: string, query: string) =>
    act(`get /pods/${subresource}`, {
      requestURI: `/api/v1/namespaces/shop/pods/x/${subresource}?${query}`,
      responseStatus: { code: 101 },
    });
  const told = (body: JsonObject, context: Partial<DrawContext> = {}) => {
    const [event] = events(body, context);
    const { container, command, ports } = event?.details ?? {};
    return [event?.message, container, command, ports];
  };
  const exec = session("exec", "container=app&command=cat&command=%2Fvault%2Fdata&stdout=true");
  assertEquals(told(exec), [
    'jane was allowed to run "cat /vault/data" in container app of Pod shop/x (101)',
    "app",
    "cat /vault/data",
    undefined,
  ]);
  const programAlone = { setting: settingsWith({ AUDIT_COMMANDS: "program" }).of };
  assertEquals(told(exec, programAlone)[2], "cat");
  assertEquals(told(session("exec", "command=a%26b%3Dc+d&command=%C3%A9"))[2], "a&b=c d é");
  for (const broken of ["%", "%zz", "%ff"]) {
    const [, , command] = told(session("exec", `command=mysql%20-phunter2%20x&command=${broken}`));
    assertEquals(String(command).slice(0, 14), "mysql -p*** x ", broken);
  }
  for (const command of ["mysql%20-h%20db%20secretword", "%20mysql%09secretword", "mysql%0Asecretword"]) {
    const [message, , program] = told(session("exec", `command=${command}`), programAlone);
    assertEquals([program, String(message).includes("secretword")], ["mysql", false]);
  }
  assertEquals(told(session("attach", "container=app&tty=true")).slice(0, 2), [
    "jane was allowed to attach to container app of Pod shop/x (101)",
    "app",
  ]);
  assertEquals(told(session("portforward", "ports=8080&ports=9090")), [
    "jane was allowed to forward ports 8080,9090 to Pod shop/x (101)",
    undefined,
    undefined,
    "8080,9090",
  ]);
  assertEquals(told(session("exec", `command=${"x".repeat(20_000)}`))[2]?.toString().length, 1_024);
  const token = ["ghp_", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6"].join("");
  for (let before = 980; before < 1_024; before++) {
    const [, , command] = told(session("exec", `command=${"x".repeat(before)}&command=${token}`));
    assertEquals(String(command).includes("ghp_a"), false, "no part of a secret at the cut");
  }
});

Deno.test("audit reads a session's command whole, wherever it stands in the query and however it is escaped", () => {
  const exec = (query: string, user = "jane") =>
    act("get /pods/exec", {
      user: { username: user },
      requestURI: `/api/v1/namespaces/shop/pods/x/exec?${query}`,
      responseStatus: { code: 101 },
    });
  const padding = `x=${"y".repeat(20_000)}&${"a&c=&".repeat(5_000)}`;
  for (
    const query of [
      `${padding}container=app&command=cat&command=%2Fx`,
      `c%6fntainer=app&${padding}%63%6F%6D%6D%61%6E%64=cat&comm%61nd=/x`,
      `command=cat&${padding}command=%2Fx&container=app&container=other&commands=no&%zz=&command`,
    ]
  ) {
    const details = events(exec(query))[0]?.details;
    assertEquals([details?.container, details?.command], ["app", "cat /x"]);
    assertEquals(details?.truncated, undefined);
  }
  const long = (end: string) =>
    exec(`command=sh&command=${"x".repeat(9_000)}${end}`, "system:serviceaccount:a:b");
  assertEquals(events(long("1"))[0]?.details.truncated, true);
  assertEquals([distinct([long("1"), long("1")]), distinct([long("1"), long("2")])], [1, 2]);
});

Deno.test("audit reads a query in linear time", () => {
  for (const unit of ["a&", "&", "c&", "command=a&", "%63&", "command", "container=", "%", "command=%ff&"]) {
    assertLinear(unit, (query) => events(act("get /pods/exec", { requestURI: `/x?${query}` })));
  }
});

Deno.test("audit names the workload, container and image of a privileged Pod", () => {
  const containers = [
    { name: "app", image: "web:1" },
    { name: "sh", image: "busybox", securityContext: { privileged: true } },
  ];
  const of = (metadata: JsonObject) =>
    events(act("create /pods", { requestObject: { metadata, spec: { containers } } }))[0];
  const owners = [{ kind: "ReplicaSet", name: "web-7f8d9c6b5d", controller: true }];
  const owned = of({ generateName: "web-7f8d9c6b5d-", ownerReferences: owners });
  assertEquals(
    owned?.message,
    "jane was allowed to create Pod shop/x of ReplicaSet/web-7f8d9c6b5d with privileged container sh (busybox) (200)",
  );
  const { workload, containers: names, images } = owned?.details ?? {};
  assertEquals([workload, names, images], ["ReplicaSet/web-7f8d9c6b5d", ["sh"], ["busybox"]]);
  assertEquals(of({ generateName: "run-" })?.details.workload, "run");
  assertEquals("workload" in (of({ name: "x" })?.details ?? {}), false);
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
  if (!event) throw new Error("expected an event");
  const payload = payloadOf(null);
  const stored = toObservation(runtimeFor(audit).normalize(event, payload), 1, {
    instance: "default",
    eventId: "e",
  });
  assert(!JSON.stringify(stored).includes("hunter2"));
  assertEquals(event.details.requestURI, "/api/v1/namespaces/shop/secrets");
  assertEquals(event.details.impersonatedUser, "root");
  assertEquals(event.message, "jane as root was allowed to create Secret shop/x (200)");
});

Deno.test("audit takes a generated name from the answer, and needs no name", () => {
  const objectRef = { resource: "pods", namespace: "shop" };
  const named = events(act("create /pods", { objectRef, responseObject: { metadata: { name: "web-abc" } } }));
  assertEquals(named[0]?.resource, { apiVersion: "v1", kind: "Pod", name: "web-abc", namespace: "shop" });
  const nameless = events(act("list /pods", { objectRef, responseStatus: { code: 403 } }));
  assertEquals(nameless[0]?.resource, { apiVersion: "v1", kind: "Pod", namespace: "shop" });
});

Deno.test("audit reads a Namespace as cluster-scoped, and a path without an object as no resource", () => {
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
    "a client at an unknown address without a valid login was not allowed to get /metrics (403)",
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
