import { assert, assertEquals, assertRejects } from "@std/assert";
import { isObject } from "../../src/model/json.ts";
import { startAuditSink } from "../support/audit_sink.ts";
import { startEnvtest } from "../support/envtest.ts";
import { eventually } from "../support/eventually.ts";

Deno.test("startEnvtest() runs a server whose audit events arrive, with its users and their rules", async () => {
  await using sink = startAuditSink();
  const { events } = sink;
  await using cluster = await startEnvtest({
    users: [{ name: "carol", groups: ["auditors"] }],
    auditWebhookUrl: sink.url,
  });
  const namespace = await cluster.createNamespace("audited");
  const secrets = `/api/v1/namespaces/${namespace}/secrets`;
  assertEquals((await cluster.ask("GET", secrets, { as: cluster.user("carol") })).status, 403);
  const roles = `/apis/rbac.authorization.k8s.io/v1/namespaces/${namespace}`;
  await cluster.expect("POST", `${roles}/roles`, {
    body: {
      metadata: { name: "read" },
      rules: [{ apiGroups: [""], resources: ["secrets"], verbs: ["list"] }],
    },
  });
  await cluster.expect("POST", `${roles}/rolebindings`, {
    body: {
      metadata: { name: "read" },
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: "read" },
      subjects: [{ apiGroup: "rbac.authorization.k8s.io", kind: "Group", name: "auditors" }],
    },
  });
  await eventually("the group's right to be known", async () => {
    return (await cluster.ask("GET", secrets, { as: cluster.user("carol") })).status === 200;
  });
  const pod = { metadata: { name: "pod" }, spec: { containers: [{ name: "c", image: "none" }] } };
  await cluster.expect("POST", `/api/v1/namespaces/${namespace}/pods`, { body: pod });

  const codes = await eventually("both answers to carol in the audit", () => {
    const hers = events.filter(({ user, stage }) =>
      isObject(user) && user.username === "carol" && stage === "ResponseComplete"
    );
    const found = hers.map(({ responseStatus }) =>
      isObject(responseStatus) ? responseStatus.code : undefined
    );
    return found.includes(200) && found.includes(403) ? found : undefined;
  });
  assert(codes.length >= 2);
  const created = await eventually("the Pod in the audit", () => {
    return events.find(({ objectRef, verb, stage }) =>
      isObject(objectRef) && objectRef.resource === "pods" && verb === "create" &&
      stage === "ResponseComplete"
    );
  });
  assert(isObject(created.requestObject), "writes of Pods come with their request");
});

Deno.test("startEnvtest() shows the log of a server that does not start, and leaves nothing behind", async () => {
  const error = await assertRejects(
    () => startEnvtest({ extraArgs: ["--no-such-flag"] }),
    Error,
    "no-such-flag",
  );
  assert(error.message.startsWith('Cannot start "kube-apiserver"'), error.message);
});
