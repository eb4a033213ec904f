import { assertEquals, assertObjectMatch, assertStringIncludes } from "@std/assert";
import type { Case } from "./case.ts";
import { fieldsOf, metadata, names, until } from "./server.ts";
import type { JsonObject } from "../../src/model/json.ts";

const CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/** Schemas, the status subresource, and definitions that come, change and go. */
export const definitionCases: Case[] = [
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
        // Kubernetes 1.37 names a second cause, of no field, for a fraction where an integer is wanted.
        const fields = fieldsOf(answer.body).filter((each) => each !== "<nil>");
        assertEquals([answer.status, fields], [422, [field]], answer.text);
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
      const other = { ...version, storage: false };
      const versions = [
        { ...other, name: "v1alpha1", served: false },
        { ...other, name: "v1beta1" },
        { ...version, name: "v1" },
      ];
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
      const { body: group } = await server.get(`/apis/${at.group}`);
      assertEquals((group.versions as JsonObject[]).map(({ version }) => version), ["v1", "v1beta1"]);
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
    name: "a changed definition counts for what is written next",
    async run({ server, at }) {
      const schema = (properties: JsonObject) => ({
        openAPIV3Schema: { type: "object", properties: { spec: { type: "object", properties } } },
      });
      const version = { name: "v1", served: true, storage: true };
      const text = { type: "string" };
      const definition = {
        apiVersion: "apiextensions.k8s.io/v1",
        kind: "CustomResourceDefinition",
        metadata: { name: `shapes.${at.group}` },
        spec: {
          group: at.group,
          scope: "Namespaced",
          names: { plural: "shapes", kind: "Shape" },
          versions: [{ ...version, schema: schema({ old: text }) }],
        },
      };
      await at.install(definition);
      const path = `/apis/${at.group}/v1/namespaces/${at.namespace}/shapes`;
      const shape = { apiVersion: `${at.group}/v1`, kind: "Shape", metadata: { generateName: "s-" } };
      const before = await server.created(path, { ...shape, spec: { old: "1", new: "1" } });
      assertEquals(before.spec, { old: "1" });
      const changed = { ...version, schema: schema({ old: text, new: { ...text, default: "2" } }) };
      const { status, body } = await server.patch(`${CRDS}/shapes.${at.group}`, {
        spec: { versions: [changed] },
      });
      assertEquals([status, metadata(body).generation], [200, 2]);
      await until(async () => {
        const after = await server.created(path, { ...shape, spec: { old: "1" } });
        return (after.spec as JsonObject).new === "2";
      });
      await at.uninstall("shapes");
    },
  },
];
