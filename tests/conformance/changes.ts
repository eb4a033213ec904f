import { assertEquals, assertObjectMatch, assertStringIncludes } from "@std/assert";
import type { Case } from "./case.ts";
import { fieldsOf, JSON_PATCH, metadata } from "./server.ts";
import type { JsonObject } from "../../src/model/json.ts";

/** Changing objects: PUT, patches, dry runs. */
export const changeCases: Case[] = [
  {
    name: "PUT needs the current resourceVersion: none is 422, a stale one 409",
    async run({ server, at }) {
      const first = await server.created(at.widgets, at.widget("put"));
      const path = `${at.widgets}/put`;
      const none = await server.put(path, at.widget("put"));
      assertEquals([none.status, fieldsOf(none.body)], [422, ["metadata.resourceVersion"]]);
      const second = await server.put(path, { ...first, spec: { color: "green" } });
      assertEquals([second.status, metadata(second.body).generation], [200, 2]);
      const stale = await server.put(path, { ...first, spec: { color: "red" } });
      assertEquals([stale.status, stale.body.reason], [409, "Conflict"]);
      assertObjectMatch(stale.body, { details: { name: "put", group: at.group, kind: "widgets" } });
      assertStringIncludes(
        String(stale.body.message),
        "the object has been modified; please apply your changes",
      );
      const missing = await server.put(
        `${at.widgets}/none`,
        at.widget("none", { metadata: { resourceVersion: "1" } }),
      );
      assertEquals(missing.status, 404);
      const otherUid = { ...second.body, metadata: { ...metadata(second.body), uid: crypto.randomUUID() } };
      assertEquals((await server.put(path, otherUid)).status, 409);
    },
  },
  {
    name: "a write that changes nothing keeps the resourceVersion",
    async run({ server, at }) {
      const made = await server.created(at.widgets, at.widget("same"));
      // The first PUT may still move the ownership of defaulted fields on a server that tracks it.
      const first = (await server.put(`${at.widgets}/same`, made)).body;
      const put = await server.put(`${at.widgets}/same`, first);
      const patched = await server.patch(`${at.widgets}/same`, { spec: { color: "red" } });
      assertEquals([put.body, patched.body], [first, first]);
    },
  },
  {
    name: "merge patch merges, null removes, a resourceVersion in it is checked",
    async run({ server, at }) {
      const path = `${at.widgets}/merge`;
      const first = await server.created(
        at.widgets,
        at.widget("merge", { spec: { color: "red", map: { a: 1, b: 2 } } }),
      );
      const patch = { metadata: { labels: { k: "v" } }, spec: { map: { a: null, c: 3 } } };
      const { status, body } = await server.patch(path, patch);
      assertEquals([status, (body.spec as JsonObject).map, metadata(body).labels], [200, { b: 2, c: 3 }, {
        k: "v",
      }]);
      const stale = await server.patch(path, {
        metadata: { resourceVersion: metadata(first).resourceVersion! },
      });
      assertEquals([stale.status, stale.body.reason], [409, "Conflict"]);
      const current = { metadata: { resourceVersion: metadata(body).resourceVersion!, labels: { k: null } } };
      const fresh = await server.patch(path, current);
      assertEquals([fresh.status, metadata(fresh.body).labels], [200, undefined]);
      const uid = await server.patch(path, { metadata: { uid: crypto.randomUUID() } });
      assertEquals([uid.status, new Set(fieldsOf(uid.body))], [422, new Set(["metadata.uid"])]);
      const refused = await server.patch(path, { spec: { color: "blue" } });
      assertEquals([refused.status, fieldsOf(refused.body)], [422, ["spec.color"]]);
      assertEquals(
        (await server.send("PATCH", path, { body: "nope", type: "application/merge-patch+json" })).status,
        400,
      );
      assertEquals((await server.patch(path, { metadata: { name: "else" } })).status, 400);
    },
  },
  {
    name: "JSON patch adds, replaces, removes, moves, copies and tests",
    async run({ server, at }) {
      const path = `${at.widgets}/jsonpatch`;
      const any = { keep: 1, "a/b": 2, list: [1, 2, 3] };
      await server.created(at.widgets, at.widget("jsonpatch", { spec: { color: "red", any } }));
      const { status, body } = await server.patch(path, [
        { op: "test", path: "/spec/color", value: "red" },
        { op: "add", path: "/spec/any/new", value: { deep: [] } },
        { op: "replace", path: "/spec/any/a~1b", value: 5 },
        { op: "add", path: "/spec/any/list/1", value: "in" },
        { op: "add", path: "/spec/any/list/-", value: "end" },
        { op: "remove", path: "/spec/any/list/0" },
        { op: "copy", from: "/spec/any/keep", path: "/spec/any/copied" },
        { op: "move", from: "/spec/any/keep", path: "/spec/any/moved" },
      ], JSON_PATCH);
      assertEquals(status, 200);
      const expected = { "a/b": 5, list: ["in", 2, 3, "end"], new: { deep: [] }, copied: 1, moved: 1 };
      assertEquals((body.spec as JsonObject).any, expected);
      for (
        const op of [
          { op: "test", path: "/spec/color", value: "green" },
          { op: "remove", path: "/spec/any/nothing" },
          { op: "replace", path: "/spec/nothing/x", value: 1 },
          { op: "add", path: "/spec/nothing/x", value: 1 },
          { op: "add", path: "/spec/any/list/9", value: 1 },
          { op: "replace", path: "/spec/any/list/9", value: 1 },
          { op: "move", from: "/spec/nothing", path: "/spec/any/x" },
        ]
      ) {
        const refused = await server.patch(path, [op], JSON_PATCH);
        assertEquals([refused.status, refused.body.reason], [422, "Invalid"], op.op);
      }
      assertEquals((await server.patch(path, { op: "add" }, JSON_PATCH)).status, 400);
      const unchanged = await server.get(path);
      assertEquals(unchanged.body, body);
    },
  },
  {
    name: "dryRun=All does everything but store",
    async run({ server, at }) {
      const created = await server.create(`${at.widgets}?dryRun=All`, at.widget("dry"));
      assertEquals([created.status, (created.body.spec as JsonObject).count], [201, 3]);
      assertEquals([metadata(created.body).resourceVersion, (await server.get(`${at.widgets}/dry`)).status], [
        undefined,
        404,
      ]);
      const stored = await server.created(at.widgets, at.widget("dry"));
      const patched = await server.patch(`${at.widgets}/dry?dryRun=All`, { spec: { color: "green" } });
      assertEquals([patched.status, (patched.body.spec as JsonObject).color], [200, "green"]);
      assertEquals((await server.create(`${at.widgets}?dryRun=All`, at.widget("dry"))).status, 409);
      assertEquals((await server.get(`${at.widgets}/dry`)).body, stored);
      assertEquals((await server.create(`${at.widgets}?dryRun=Some`, at.widget("dry2"))).status, 422);
    },
  },
];
