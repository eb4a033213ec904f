import {
  assert,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertObjectMatch,
  assertStringIncludes,
} from "@std/assert";
import type { Case } from "./case.ts";
import { fieldsOf, metadata, names } from "./server.ts";
import type { JsonObject } from "../../src/model/json.ts";

/** Creating and deleting objects. */
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
];
