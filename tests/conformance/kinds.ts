import { assert, assertEquals, assertObjectMatch } from "@std/assert";
import type { Case } from "./case.ts";
import { fieldsOf, metadata, names } from "./server.ts";
import type { JsonObject } from "../../src/model/json.ts";

/** The built-in kinds we write and read, and what a server says of itself. */
export const kindCases: Case[] = [
  {
    name: "a namespace must be there and not terminating",
    async run({ server, at }) {
      const nowhere = `/apis/${at.group}/v1/namespaces/no-such/widgets`;
      const missing = await server.create(nowhere, at.widget("x"));
      assertEquals([missing.status, missing.body.reason, missing.body.message], [
        404,
        "NotFound",
        'namespaces "no-such" not found',
      ]);
      assertEquals(missing.body.details, { name: "no-such", kind: "namespaces" });
      assertEquals((await server.get(nowhere)).status, 200);
      const name = `${at.namespace}-ending`;
      const namespace = { metadata: { name, finalizers: ["example.com/hold"] } };
      const made = await server.created("/api/v1/namespaces", namespace);
      assertObjectMatch(made, { status: { phase: "Active" }, spec: { finalizers: ["kubernetes"] } });
      assertEquals(metadata(made).labels, { "kubernetes.io/metadata.name": name });
      const marked = await server.delete(`/api/v1/namespaces/${name}`);
      assertEquals((marked.body.status as JsonObject).phase, "Terminating");
      const refused = await server.create(`/apis/${at.group}/v1/namespaces/${name}/widgets`, at.widget("x"));
      assertEquals([refused.status, refused.body.reason], [403, "Forbidden"]);
      assertObjectMatch(refused.body, {
        message:
          `widgets.${at.group} "x" is forbidden: unable to create new content in namespace ${name} because it is being terminated`,
        details: { name: "x", group: at.group, kind: "widgets" },
      });
      const [cause] = (refused.body.details as { causes: JsonObject[] }).causes;
      assertEquals(cause, {
        reason: "NamespaceTerminating",
        message: `namespace ${name} is being terminated`,
        field: "metadata.namespace",
      });
      await server.patch(`/api/v1/namespaces/${name}`, { metadata: { finalizers: null } });
      assertEquals((await server.create("/api/v1/namespaces", { metadata: { name: "a.b" } })).status, 422);
    },
  },
  {
    name: "leases: PUT creates, needs a resourceVersion to change, times have microseconds",
    async run({ server, at }) {
      const lease = (fields: JsonObject, meta: JsonObject = {}) => ({
        apiVersion: "coordination.k8s.io/v1",
        kind: "Lease",
        metadata: { name: "leader", ...meta },
        spec: { holderIdentity: "a", leaseDurationSeconds: 15, ...fields },
      });
      const made = await server.put(
        `${at.leases}/leader`,
        lease({ renewTime: "2024-01-01T00:00:00.000000Z" }),
      );
      assertEquals(made.status, 201);
      assertEquals((await server.put(`${at.leases}/leader`, lease({ holderIdentity: "b" }))).status, 422);
      const { resourceVersion } = metadata(made.body);
      const taken = await server.put(
        `${at.leases}/leader`,
        lease({ holderIdentity: "b" }, { resourceVersion: resourceVersion! }),
      );
      assertEquals([taken.status, (taken.body.spec as JsonObject).holderIdentity], [200, "b"]);
      const late = await server.put(
        `${at.leases}/leader`,
        lease({ holderIdentity: "c" }, { resourceVersion: resourceVersion! }),
      );
      assertEquals([late.status, late.body.reason], [409, "Conflict"]);
      const patched = await server.patch(`${at.leases}/leader`, {
        spec: { holderIdentity: null, renewTime: "2024-01-01T00:00:01.000000Z" },
      });
      assertEquals([patched.status, (patched.body.spec as JsonObject).holderIdentity], [200, undefined]);
      assertEquals(
        (await server.patch(`${at.leases}/leader`, { spec: { leaseDurationSeconds: 0 } })).status,
        422,
      );
      assertEquals(
        (await server.patch(`${at.leases}/leader`, { spec: { renewTime: "2024-01-01T00:00:01Z" } })).status,
        422,
      );
      assertEquals((await server.create(at.leases, lease({}))).status, 409);
    },
  },
  {
    name: "config maps and secrets: values are strings, stringData is encoded, no resourceVersion needed",
    async run({ server, at }) {
      const path = `${at.core("configmaps")}/plain`;
      const first = await server.created(at.core("configmaps"), {
        metadata: { name: "plain" },
        data: { k: "v" },
      });
      assertEquals(metadata(first).generation, undefined);
      const put = await server.put(path, { metadata: { name: "plain" }, data: { k: "w" }, unknown: true });
      assertEquals([put.status, put.body.data, put.body.unknown], [200, { k: "w" }, undefined]);
      const strategic = "application/strategic-merge-patch+json";
      assertEquals((await server.patch(path, { data: { l: "x", k: null } }, strategic)).body.data, {
        l: "x",
      });
      assertEquals((await server.put(path, { metadata: { name: "plain" }, data: { k: 5 } })).status, 400);
      assertEquals(
        (await server.put(`${at.core("configmaps")}/none`, { metadata: { name: "none" } })).status,
        404,
      );
      const secret = await server.created(at.core("secrets"), {
        metadata: { name: "plain" },
        stringData: { k: "vé" },
      });
      assertEquals([secret.type, secret.data, secret.stringData], ["Opaque", { k: "dsOp" }, undefined]);
      assertEquals(names((await server.get(`${at.core("secrets")}?fieldSelector=type%3DOpaque`)).body), [
        "plain",
      ]);
    },
  },
  {
    name: "events: of their own namespace, selected by what they are about",
    async run({ server, at }) {
      const event = (name: string, about: JsonObject, fields: JsonObject = {}) => ({
        metadata: { name },
        involvedObject: { apiVersion: "v1", namespace: at.namespace, ...about },
        reason: "Tested",
        type: "Warning",
        ...fields,
      });
      const path = at.core("events");
      await server.created(
        path,
        event("e1", { kind: "Pod", name: "p", uid: "u" }, {
          message: "m",
          count: 1,
          lastTimestamp: "2024-01-01T00:00:00Z",
        }),
      );
      await server.created(path, event("e2", { kind: "Node", name: "n" }, { type: "Normal" }));
      const wrong = await server.create(path, event("e3", { kind: "Pod", name: "p", namespace: "other" }));
      assertEquals([wrong.status, fieldsOf(wrong.body)], [422, ["involvedObject.namespace"]]);
      const cases: [string, string[]][] = [
        ["involvedObject.kind=Pod,involvedObject.name=p", ["e1"]],
        ["involvedObject.uid=u", ["e1"]],
        ["type!=Warning", ["e2"]],
        ["reason=Tested", ["e1", "e2"]],
      ];
      for (const [selector, expected] of cases) {
        const { body } = await server.get(`${path}?fieldSelector=${encodeURIComponent(selector)}`);
        assertEquals(names(body), expected, selector);
      }
      const again = await server.patch(`${path}/e1`, { count: 2 });
      assertEquals([again.status, again.body.count, again.body.message], [200, 2, "m"]);
    },
  },
  {
    name: "discovery, version, health and reviews answer",
    async run({ server, at }) {
      for (const path of ["/readyz", "/livez"]) assertEquals((await server.get(path)).text, "ok");
      assertEquals((await server.get("/version")).body.major, "1");
      assertObjectMatch((await server.get("/api")).body, { kind: "APIVersions", versions: ["v1"] });
      const groups = (await server.get("/apis")).body.groups as JsonObject[];
      for (const name of ["coordination.k8s.io", "apiextensions.k8s.io"]) {
        assert(groups.some((group) => group.name === name), name);
      }
      const own = await server.get(`/apis/${at.group}`);
      assertObjectMatch(own.body, {
        kind: "APIGroup",
        name: at.group,
        preferredVersion: { groupVersion: `${at.group}/v1`, version: "v1" },
      });
      const resources = (await server.get(`/apis/${at.group}/v1`)).body.resources as JsonObject[];
      const widgets = resources.find(({ name }) => name === "widgets")!;
      assertObjectMatch(widgets, {
        kind: "Widget",
        namespaced: true,
        singularName: "widget",
        shortNames: ["wd"],
        categories: ["toys"],
      });
      assert(resources.some(({ name }) => name === "widgets/status"));
      const review = { apiVersion: "authentication.k8s.io/v1", kind: "SelfSubjectReview" };
      const self = await server.created("/apis/authentication.k8s.io/v1/selfsubjectreviews", review);
      assert((self.status as { userInfo: { username: string } }).userInfo.username);
      const spec = { resourceAttributes: { verb: "list", group: at.group, resource: "widgets" } };
      const access = { apiVersion: "authorization.k8s.io/v1", kind: "SelfSubjectAccessReview", spec };
      const allowed = await server.created("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", access);
      assertEquals((allowed.status as JsonObject).allowed, true);
    },
  },
];
