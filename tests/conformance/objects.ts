import {
  assert,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertObjectMatch,
  assertStringIncludes,
} from "@std/assert";
import type { Case } from "./cases.ts";
import { fieldsOf, JSON_PATCH, metadata, names } from "./server.ts";
import type { JsonObject } from "../../src/core/json.ts";

/** Creating, changing and deleting objects. */
export const objectCases: Case[] = [
  {
    name: "create answers 201 with uid, creationTimestamp, generation and resourceVersion",
    async run({ server, at }) {
      const object = await server.created(at.widgets, at.widget("made"));
      const { uid, creationTimestamp, generation, resourceVersion, namespace } = metadata(object);
      assertMatch(String(uid), /^[0-9a-f-]{36}$/);
      assertMatch(String(creationTimestamp), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
      assertMatch(String(resourceVersion), /^\d+$/);
      assertEquals([generation, namespace], [1, at.namespace]);
      const read = await server.get(`${at.widgets}/made`);
      assertEquals([read.status, read.body], [200, object]);
    },
  },
  {
    name: "create of a taken name is 409 AlreadyExists",
    async run({ server, at }) {
      await server.created(at.widgets, at.widget("taken"));
      const { status, body } = await server.create(at.widgets, at.widget("taken"));
      assertEquals(status, 409);
      assertObjectMatch(body, {
        kind: "Status",
        apiVersion: "v1",
        metadata: {},
        status: "Failure",
        message: `widgets.${at.group} "taken" already exists`,
        reason: "AlreadyExists",
        details: { name: "taken", group: at.group, kind: "widgets" },
        code: 409,
      });
    },
  },
  {
    name: "a missing object is 404 NotFound, a missing resource a plain 404",
    async run({ server, at }) {
      const { status, body } = await server.get(`${at.widgets}/nowhere`);
      const details = { name: "nowhere", group: at.group, kind: "widgets" };
      assertEquals(status, 404);
      assertObjectMatch(body, {
        reason: "NotFound",
        message: `widgets.${at.group} "nowhere" not found`,
        details,
      });
      for (
        const path of [
          `/apis/${at.group}/v1/nothing`,
          `/apis/${at.group}/v9/widgets`,
          "/apis/nothing.example.com/v1/x",
          "/nothing",
        ]
      ) {
        const answer = await server.get(path);
        assertEquals([answer.status, answer.text], [404, "404 page not found\n"], path);
      }
      assertEquals(
        (await server.get("/api/v1/nothing")).body.message,
        "the server could not find the requested resource",
      );
      assertEquals((await server.delete(`${at.widgets}/nowhere`)).status, 404);
      assertEquals((await server.patch(`${at.widgets}/nowhere`, {})).status, 404);
    },
  },
  {
    name: "generateName appends five characters",
    async run({ server, at }) {
      const generated = at.widget("", { metadata: { generateName: "gen-" } });
      delete metadata(generated).name;
      const [one, two] = [
        await server.created(at.widgets, generated),
        await server.created(at.widgets, generated),
      ];
      assertMatch(String(metadata(one).name), /^gen-[a-z0-9]{5}$/);
      assertNotEquals(metadata(one).name, metadata(two).name);
    },
  },
  {
    name: "names and labels that are not legal are 422 with their field",
    async run({ server, at }) {
      const nameless = at.widget("x");
      delete metadata(nameless).name;
      const cases: [JsonObject, string][] = [
        [at.widget("Not Legal"), "metadata.name"],
        [at.widget("n".repeat(254)), "metadata.name"],
        [nameless, "metadata.name"],
        [at.widget("l", { metadata: { labels: { k: "a b" } } }), "metadata.labels"],
        [at.widget("l", { metadata: { labels: { k: "v".repeat(64) } } }), "metadata.labels"],
        [at.widget("l", { metadata: { labels: { "a/b/c": "v" } } }), "metadata.labels"],
        [
          at.widget("l", { metadata: { annotations: { k: "v".repeat(256 * 1024) } } }),
          "metadata.annotations",
        ],
      ];
      for (const [object, field] of cases) {
        const { status, body } = await server.create(at.widgets, object);
        assertEquals([status, body.reason, fieldsOf(body)], [422, "Invalid", [field]]);
        assertEquals((body.details as JsonObject).kind, "Widget");
      }
    },
  },
  {
    name: "a body that does not fit the path is refused with 400",
    async run({ server, at }) {
      const bad = at.widget("x");
      const cases: [JsonObject | string, string][] = [
        [{ ...bad, apiVersion: `${at.group}/v2` }, "does not match the expected API version"],
        [{ ...bad, metadata: { name: "x", namespace: "other" } }, "does not match the namespace"],
        [{ metadata: { name: "x" }, spec: {} }, "Object 'Kind' is missing"],
        ['{"kind', "json parse error"],
      ];
      for (const [body, message] of cases) {
        const answer = await server.send("POST", at.widgets, { body });
        assertEquals([answer.status, answer.body.reason], [400, "BadRequest"], message);
        assertStringIncludes(String(answer.body.message), message);
      }
      assertEquals((await server.create(at.widgets, { ...bad, kind: "Gadget" })).status, 422);
      const withVersion = at.widget("x", { metadata: { resourceVersion: "5" } });
      assertEquals((await server.create(at.widgets, withVersion)).status, 500);
      const other = await server.put(
        `${at.widgets}/y`,
        at.widget("x", { metadata: { resourceVersion: "5" } }),
      );
      assertEquals(other.body.message, "the name of the object (x) does not match the name on the URL (y)");
      assertEquals(
        (await server.create(at.widgets, at.widget("x", { metadata: { labels: { a: 5 } } }))).status,
        400,
      );
    },
  },
  {
    name: "unknown media types are 415 and 406",
    async run({ server, at }) {
      const body = at.widget("media");
      assertEquals((await server.send("POST", at.widgets, { body, type: "text/plain" })).status, 415);
      assertEquals((await server.get(at.widgets, { accept: "text/csv" })).status, 406);
      await server.created(at.widgets, body);
      for (const type of ["application/json", "application/strategic-merge-patch+json"]) {
        const { status, body: answer } = await server.patch(`${at.widgets}/media`, {}, type);
        assertEquals([status, answer.reason], [415, "UnsupportedMediaType"]);
      }
    },
  },
  {
    name: "bodies over 3 MiB are 413, objects over 1.5 MiB a 500 of the storage",
    async run({ server, at }) {
      const large = (size: number) =>
        at.widget("large", { spec: { color: "red", any: { text: "x".repeat(size) } } });
      const refused = await server.create(at.widgets, large(3.5 * 1024 * 1024));
      assertEquals(refused.status, 413);
      const stored = await server.create(at.widgets, large(1.7 * 1024 * 1024));
      assertEquals([stored.status, stored.body.message], [500, "etcdserver: request is too large"]);
      assertEquals((await server.create(at.widgets, large(1024 * 1024))).status, 201);
    },
  },
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
    name: "delete answers a Success Status; its preconditions are checked",
    async run({ server, at }) {
      const path = `${at.widgets}/gone`;
      const { metadata: { uid, resourceVersion } } = await server.created(at.widgets, at.widget("gone")) as {
        metadata: JsonObject;
      };
      for (
        const wrong of [{ uid: crypto.randomUUID() }, { resourceVersion: "1" }, {
          uid: uid!,
          resourceVersion: "1",
        }]
      ) {
        const { status, body } = await server.delete(path, { preconditions: wrong });
        assertEquals([status, body.reason], [409, "Conflict"]);
        assertStringIncludes(String(body.message), "in the precondition");
      }
      const dry = await server.send("DELETE", `${path}?dryRun=All`);
      assertEquals([dry.status, (await server.get(path)).status], [200, 200]);
      const { status, body } = await server.delete(path, {
        preconditions: { uid: uid!, resourceVersion: resourceVersion! },
      });
      assertEquals(status, 200);
      const details = { name: "gone", group: at.group, kind: "widgets", uid: uid! };
      assertObjectMatch(body, { kind: "Status", status: "Success", details });
      assertEquals((await server.get(path)).status, 404);
    },
  },
  {
    name: "an object with finalizers is marked and goes when they are gone",
    async run({ server, at }) {
      const path = `${at.widgets}/held`;
      await server.created(at.widgets, at.widget("held", { metadata: { finalizers: ["example.com/hold"] } }));
      const marked = await server.delete(path);
      assertEquals([marked.status, marked.body.kind], [200, "Widget"]);
      assertObjectMatch(metadata(marked.body), { deletionGracePeriodSeconds: 0, generation: 2 });
      assert(metadata(marked.body).deletionTimestamp);
      assertEquals((await server.get(path)).body, marked.body);
      assertEquals((await server.patch(path, { metadata: { finalizers: null } })).status, 200);
      assertEquals((await server.get(path)).status, 404);
    },
  },
  {
    name: "deletecollection deletes what it selects and answers the list",
    async run({ server, at }) {
      for (const [name, of] of [["c1", "x"], ["c2", "x"], ["c3", "y"]] as const) {
        await server.created(at.widgets, at.widget(name, { metadata: { labels: { collection: of } } }));
      }
      const deleted = await server.delete(`${at.widgets}?labelSelector=collection%3Dx`);
      assertEquals([deleted.status, deleted.body.kind, names(deleted.body)], [200, "WidgetList", [
        "c1",
        "c2",
      ]]);
      const left = await server.get(`${at.widgets}?labelSelector=collection`);
      assertEquals(names(left.body), ["c3"]);
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
