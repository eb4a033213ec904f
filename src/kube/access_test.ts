import { assertEquals, assertRejects } from "@std/assert";
import { apiServer, status } from "../../tests/support/api_server.ts";
import { type Access, canI, describeAccess, missingAccess, whoAmI } from "./access.ts";
import { ApiError, fixedConnection, type KubeObject } from "./api.ts";
import { createKubeClient } from "./client.ts";

/** Answers reviews; `denied` lists what is not allowed, in `describeAccess` words. */
function authorizer(denied: readonly string[]) {
  return ({ body }: { body: unknown }): Response => {
    const review = body as KubeObject & { spec: { resourceAttributes: Access } };
    const allowed = !denied.includes(describeAccess(review.spec.resourceAttributes));
    return Response.json({
      ...review,
      status: allowed ? { allowed } : { allowed, reason: "no RBAC policy matched" },
    });
  };
}

const access = (verb: string, extra: Partial<Access> = {}): Access => ({
  verb,
  group: "zen.kube-zen.io",
  resource: "observations",
  ...extra,
});

Deno.test("missingAccess() returns what is not allowed, in the order of its argument", async () => {
  const wanted = [
    access("create"),
    access("delete", { namespace: "prod" }),
    access("patch", { subresource: "status" }),
    access("get", { group: "", resource: "configmaps", name: "zen-watcher-filter", namespace: "zen-system" }),
    access("watch"),
  ];
  await using server = apiServer(authorizer([
    'delete observations.zen.kube-zen.io in namespace "prod"',
    "patch observations.zen.kube-zen.io/status",
    'get configmaps "zen-watcher-filter" in namespace "zen-system"',
  ]));
  using api = createKubeClient(fixedConnection({ server: server.url }));
  const missing = await missingAccess(api, wanted);
  assertEquals(missing.map(({ access }) => access), wanted.slice(1, 4));
  assertEquals(missing[0]!.reason, "no RBAC policy matched");
  assertEquals(server.seen.length, wanted.length);
  assertEquals(server.seen[0]!.path, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews");
});

Deno.test("canI() does not treat a malformed answer as allowed", async () => {
  await using server = apiServer(() => Response.json({ status: { allowed: "true" } }));
  using api = createKubeClient(fixedConnection({ server: server.url }));
  assertEquals(await canI(api, access("create")), { access: access("create"), allowed: false, reason: "" });
});

Deno.test("whoAmI() returns user and groups, undefined on a server before 1.28, and fails on other errors", async () => {
  const userInfo = {
    username: "system:serviceaccount:zen-system:zen-watcher",
    groups: ["system:authenticated"],
  };
  const answers = [() => Response.json({ status: { userInfo } }), () => status(404), () => status(500)];
  await using server = apiServer((_seen, index) => answers[index]!());
  using api = createKubeClient(fixedConnection({ server: server.url }));
  assertEquals(await whoAmI(api), userInfo);
  assertEquals(await whoAmI(api), undefined);
  await assertRejects(() => whoAmI(api), ApiError);
  assertEquals(server.seen[0]!.path, "/apis/authentication.k8s.io/v1/selfsubjectreviews");
});
