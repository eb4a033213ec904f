import { assert, assertEquals, assertObjectMatch, assertStringIncludes } from "@std/assert";
import type { Case } from "./cases.ts";
import { fieldsOf, metadata, names, until } from "./server.ts";
import type { JsonObject } from "../../src/core/json.ts";

const CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/** Schemas, the status subresource, definitions, and the built-in kinds we write and read. */
export const resourceCases: Case[] = [
  {
    name: "what the schema does not know is pruned, defaults come, nulls of non-nullable fields go",
    async run({ server, at }) {
      const object = await server.created(at.widgets, {
        ...at.widget("pruned"),
        extra: 1,
        spec: {
          color: "red",
          extra: 1,
          code: null,
          absent: null,
          any: { kept: { deep: null } },
          list: [{ a: "x", c: "y" }],
          map: { n: 1 },
          port: "http",
        },
        status: { phase: "Given", seen: 4 },
      });
      const { extra, spec, status } = object;
      assertEquals([extra, status], [undefined, { phase: "New" }]);
      assertEquals(spec, {
        color: "red",
        count: 3,
        absent: null,
        any: { kept: { deep: null } },
        list: [{ a: "x", b: "z" }],
        map: { n: 1 },
        port: "http",
        nested: { mode: "on" },
      });
    },
  },
  {
    name: "what the schema refuses is 422 with one cause a field",
    async run({ server, at }) {
      const { status, body } = await server.create(at.widgets, {
        ...at.widget("refused"),
        spec: {
          color: "blue",
          code: "ABC",
          count: 0,
          at: "noon",
          list: [{}, {}, {}],
          map: { a: "x" },
          port: true,
          ratio: "1",
        },
      });
      assertEquals([status, body.reason], [422, "Invalid"]);
      const expected = [
        "spec.at",
        "spec.code",
        "spec.color",
        "spec.count",
        "spec.list",
        "spec.map.a",
        "spec.port",
        "spec.ratio",
      ];
      assertEquals(fieldsOf(body), expected);
      const causes = (body.details as { causes: JsonObject[] }).causes;
      const cause = (field: string) => {
        const { reason, message } = causes.find((each) => each.field === field)!;
        return [reason, message];
      };
      assertEquals(cause("spec.color"), [
        "FieldValueNotSupported",
        'Unsupported value: "blue": supported values: "red", "green"',
      ]);
      assertEquals(cause("spec.code"), [
        "FieldValueInvalid",
        `Invalid value: "ABC": spec.code in body should match '^[a-z]+$'`,
      ]);
      assertEquals(cause("spec.count"), [
        "FieldValueInvalid",
        "Invalid value: 0: spec.count in body should be greater than or equal to 1",
      ]);
      assertEquals(cause("spec.at"), [
        "FieldValueTypeInvalid",
        'Invalid value: "noon": spec.at in body must be of type date-time: "noon"',
      ]);
      assertEquals(cause("spec.list"), ["FieldValueTooMany", "Too many: 3: must have at most 2 items"]);
      assertEquals(cause("spec.map.a"), [
        "FieldValueTypeInvalid",
        'Invalid value: "string": spec.map.a in body must be of type integer: "string"',
      ]);
      assertObjectMatch(body, { details: { name: "refused", group: at.group, kind: "Widget" } });
      assertStringIncludes(String(body.message), `Widget.${at.group} "refused" is invalid: [`);
      const cases: [JsonObject | undefined, string][] = [
        [{}, "spec.color"],
        [undefined, "spec"],
        [{ color: "red", code: "toolong" }, "spec.code"],
        [{ color: "red", count: 11 }, "spec.count"],
        [{ color: "red", count: 1.5 }, "spec.count"],
        [{ color: "red", list: { a: 1 } }, "spec.list"],
        [{ color: "red", list: ["a"] }, "spec.list[0]"],
        [{ color: "red", at: "2024-13-01T00:00:00Z" }, "spec.at"],
      ];
      for (const [spec, field] of cases) {
        const object = at.widget("refused");
        if (spec) object.spec = spec;
        else delete object.spec;
        const answer = await server.create(at.widgets, object);
        assertEquals([answer.status, fieldsOf(answer.body)], [422, [field]], answer.text);
      }
      const good = at.widget("accepted", {
        spec: { color: "red", at: "2024-01-01T00:00:00.5+02:00", ratio: 1, port: 80, code: "abcde" },
      });
      await server.created(at.widgets, good);
    },
  },
  {
    name: "the main resource ignores status, /status ignores all else and leaves the generation",
    async run({ server, at }) {
      const path = `${at.widgets}/sub`;
      await server.created(at.widgets, at.widget("sub"));
      const main = await server.patch(path, { status: { phase: "Main" }, spec: { count: 4 } });
      assertEquals([main.body.status, metadata(main.body).generation], [{ phase: "New" }, 2]);
      const patched = await server.patch(`${path}/status`, {
        metadata: { labels: { k: "v" } },
        spec: { count: 5 },
        status: { phase: "Sub", seen: 1, unknown: true },
      });
      assertEquals([patched.status, patched.body.status], [200, { phase: "Sub", seen: 1 }]);
      const { generation, labels } = metadata(patched.body);
      assertEquals([generation, labels, (patched.body.spec as JsonObject).count], [2, undefined, 4]);
      const put = await server.put(`${path}/status`, {
        ...patched.body,
        spec: { color: "green" },
        status: { phase: "Put" },
      });
      assertEquals([put.status, put.body.status, put.body.spec], [200, { phase: "Put" }, patched.body.spec]);
      const stale = await server.put(`${path}/status`, { ...patched.body, status: { phase: "Late" } });
      assertEquals(stale.status, 409);
      assertEquals((await server.patch(`${path}/status`, { status: { seen: "x" } })).status, 422);
      assertEquals((await server.get(`${path}/status`)).body, put.body);
      assertEquals((await server.get(`${path}/nothing`)).status, 404);
      const label = await server.patch(path, { metadata: { labels: { only: "label" } } });
      assertEquals(metadata(label.body).generation, 2);
    },
  },
  {
    name: "a definition is served once installed, changes discovery, and takes its objects with it",
    async run({ server, at }) {
      const preserve = { type: "object", "x-kubernetes-preserve-unknown-fields": true };
      const version = { served: true, storage: true, schema: { openAPIV3Schema: preserve } };
      const versions = [{ ...version, name: "v1" }, { ...version, name: "v1beta1", storage: false }, {
        ...version,
        name: "v1alpha1",
        storage: false,
        served: false,
      }];
      const definition = {
        apiVersion: "apiextensions.k8s.io/v1",
        kind: "CustomResourceDefinition",
        metadata: { name: `things.${at.group}` },
        spec: {
          group: at.group,
          scope: "Cluster",
          names: { plural: "things", kind: "Thing", shortNames: ["th"] },
          versions,
        },
      };
      const misnamed = { ...definition, metadata: { name: `other.${at.group}` } };
      const refused = await server.create(CRDS, misnamed);
      assertEquals([refused.status, fieldsOf(refused.body).includes("metadata.name")], [422, true]);
      await at.install(definition);
      const { body } = await server.get(`${CRDS}/things.${at.group}`);
      assertObjectMatch(body.spec, {
        names: { singular: "thing", listKind: "ThingList" },
        conversion: { strategy: "None" },
      });
      const status = body.status as {
        conditions: { type: string; status: string }[];
        storedVersions: string[];
      };
      const conditions = Object.fromEntries(status.conditions.map((each) => [each.type, each.status]));
      assertObjectMatch(conditions, { Established: "True", NamesAccepted: "True" });
      assertEquals(status.storedVersions, ["v1"]);
      await until(async () => (await server.get(`/apis/${at.group}/v1beta1/things`)).status === 200);
      assertEquals((await server.get(`/apis/${at.group}/v1alpha1/things`)).status, 404);
      await until(async () => {
        const { body: listed } = await server.get(`/apis/${at.group}/v1`);
        const found = (listed.resources as JsonObject[] | undefined)?.find(({ name }) => name === "things");
        if (!found) return false;
        assertObjectMatch(found, {
          kind: "Thing",
          namespaced: false,
          singularName: "thing",
          shortNames: ["th"],
        });
        return true;
      });
      const path = `/apis/${at.group}/v1/things`;
      await server.created(path, {
        apiVersion: `${at.group}/v1`,
        kind: "Thing",
        metadata: { name: "one" },
        free: { form: [1] },
      });
      const beta = await server.get(`/apis/${at.group}/v1beta1/things/one`);
      assertEquals([beta.body.apiVersion, beta.body.free], [`${at.group}/v1beta1`, { form: [1] }]);
      const { resourceVersion } = metadata((await server.get(path)).body);
      await using watch = await server.watch(path, `&resourceVersion=${resourceVersion}`);
      await server.delete(`${CRDS}/things.${at.group}`);
      await until(async () => (await server.get(path)).status === 404);
      assertEquals(await watch.nextName(), "DELETED one");
      assertEquals(await watch.nextName(), "END");
      await until(async () => (await server.get(`${CRDS}/things.${at.group}`)).status === 404);
      await at.install(definition);
      assertEquals(names((await server.get(path)).body), []);
      await at.uninstall("things");
    },
  },
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
      for (const name of ["coordination.k8s.io", "apiextensions.k8s.io", "apps"]) {
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
