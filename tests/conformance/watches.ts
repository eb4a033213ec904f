import { assert, assertEquals, assertObjectMatch } from "@std/assert";
import type { Case } from "./case.ts";
import { metadata, TABLE } from "./server.ts";
import type { JsonObject } from "../../src/model/json.ts";

/** Watches: from where, of what, and how they end. */
export const watchCases: Case[] = [
  {
    name: "a watch from a resourceVersion sends every later change in order",
    async run({ server, at }) {
      const before = await server.created(at.widgets, at.widget("before"));
      const { resourceVersion } = metadata(before);
      await server.created(at.widgets, at.widget("w1"));
      await server.patch(`${at.widgets}/w1`, { spec: { color: "green" } });
      await using watch = await server.watch(at.widgets, `&resourceVersion=${resourceVersion}`);
      assertEquals(await watch.nextName(), "ADDED w1");
      assertEquals(await watch.nextName(), "MODIFIED w1");
      const { body } = await server.patch(`${at.widgets}/w1/status`, { status: { phase: "Watched" } });
      const modified = await watch.next();
      assertEquals([modified?.type, modified?.object], ["MODIFIED", body]);
      await server.delete(`${at.widgets}/w1`);
      const deleted = await watch.next();
      assertEquals(deleted?.type, "DELETED");
      assertObjectMatch(deleted?.object, { status: { phase: "Watched" }, spec: { color: "green" } });
      assert(Number(metadata(deleted!.object).resourceVersion) > Number(metadata(body).resourceVersion));
    },
  },
  {
    name: "a watch without resourceVersion, or from 0, begins with what is there",
    async run({ server, at }) {
      await server.created(at.widgets, at.widget("there", { metadata: { labels: { of: "there" } } }));
      for (const query of ["", "&resourceVersion=0"]) {
        await using watch = await server.watch(at.widgets, `&labelSelector=of%3Dthere${query}`);
        assertEquals(await watch.nextName(), "ADDED there", query);
        await server.patch(`${at.widgets}/there`, { metadata: { annotations: { at: query } } });
        assertEquals(await watch.nextName(), "MODIFIED there", query);
      }
    },
  },
  {
    name: "a watch with a selector sees objects come into it and leave it",
    since: 31,
    async run({ server, at }) {
      const path = `${at.widgets}/moving`;
      await server.created(at.widgets, at.widget("moving"));
      const selectors = [`labelSelector=in%3Dyes`, "fieldSelector=spec.color%3Dgreen"];
      for (const selector of selectors) {
        const from = (await server.get(path)).body;
        await using watch = await server.watch(
          at.widgets,
          `&${selector}&resourceVersion=${metadata(from).resourceVersion}`,
        );
        const inside = { metadata: { labels: { in: "yes" } }, spec: { color: "green" } };
        await server.patch(path, { metadata: { annotations: { n: "1" } } });
        await server.patch(path, inside);
        assertEquals(await watch.nextName(), "ADDED moving", selector);
        await server.patch(path, { metadata: { annotations: { n: "2" } } });
        assertEquals(await watch.nextName(), "MODIFIED moving", selector);
        const left = await server.patch(path, { metadata: { labels: { in: null } }, spec: { color: "red" } });
        const frame = await watch.next();
        assertEquals(frame?.type, "DELETED", selector);
        assertEquals(metadata(frame!.object).resourceVersion, metadata(left.body).resourceVersion);
        assertObjectMatch(frame!.object, { metadata: { labels: { in: "yes" } }, spec: { color: "green" } });
        await server.patch(path, inside);
        assertEquals(await watch.nextName(), "ADDED moving", selector);
        await server.patch(path, { metadata: { labels: { in: null } }, spec: { color: "red" } });
      }
    },
  },
  {
    name: "a watch of one namespace or one name sees nothing else",
    async run({ server, at }) {
      const { resourceVersion } = metadata((await server.get(at.widgets)).body);
      const from = `&resourceVersion=${resourceVersion}`;
      const other = `${at.namespace}-other`;
      await server.created("/api/v1/namespaces", { metadata: { name: other } });
      await using named = await server.watch(at.widgets, `${from}&fieldSelector=metadata.name%3Dmine`);
      await using all = await server.watch(`/apis/${at.group}/v1/widgets`, from);
      await server.created(at.widgets.replace(at.namespace, other), at.widget("mine"));
      await server.created(at.widgets, at.widget("theirs"));
      const mine = await server.created(at.widgets, at.widget("mine"));
      assertEquals((await named.next())?.object, mine);
      const seen = [await all.nextName(), await all.nextName(), await all.nextName()];
      assertEquals(seen, ["ADDED mine", "ADDED theirs", "ADDED mine"]);
      await server.delete(`/api/v1/namespaces/${other}`);
    },
  },
  {
    name: "a bookmark carries a watch that selects nothing past the changes of others",
    async run({ server, at }) {
      const { resourceVersion } = metadata((await server.get(at.widgets)).body);
      const query = `&resourceVersion=${resourceVersion}&allowWatchBookmarks=true&timeoutSeconds=6`;
      await using watch = await server.watch(at.widgets, `${query}&labelSelector=of%3Dnothing`);
      const other = await server.created(at.widgets, at.widget("unselected"));
      let bookmark = await watch.next();
      const passed = () =>
        Number(metadata(bookmark!.object).resourceVersion) >= Number(metadata(other).resourceVersion);
      while (bookmark && !passed()) bookmark = await watch.next();
      assertEquals([bookmark?.type, bookmark?.object.kind], ["BOOKMARK", "Widget"]);
      await server.created(at.widgets, at.widget("later"));
      const from = metadata(bookmark!.object).resourceVersion;
      await using resumed = await server.watch(at.widgets, `&resourceVersion=${from}`);
      assertEquals(await resumed.nextName(), "ADDED later");
    },
  },
  {
    name: "a watch ends by itself after timeoutSeconds, and sends no bookmark unasked",
    async run({ server, at }) {
      const { resourceVersion } = metadata((await server.get(at.widgets)).body);
      await using watch = await server.watch(
        at.widgets,
        `&resourceVersion=${resourceVersion}&timeoutSeconds=1`,
      );
      assertEquals(await watch.next(), undefined);
    },
  },
  {
    name: "a watch that asks for initial events gets them, and a bookmark that says so",
    // The feature gate WatchList.
    since: 34,
    async run({ server, at }) {
      await server.created(at.widgets, at.widget("first", { metadata: { labels: { of: "initial" } } }));
      const query = "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
      await using watch = await server.watch(at.widgets, `${query}&labelSelector=of%3Dinitial`);
      assertEquals(await watch.nextName(), "ADDED first");
      const bookmark = await watch.next();
      assertEquals(bookmark?.type, "BOOKMARK");
      assertEquals(metadata(bookmark!.object).annotations, { "k8s.io/initial-events-end": "true" });
    },
  },
  {
    name: "a watch from a forgotten resourceVersion gets a 410 ERROR frame and ends",
    async run({ server, at }) {
      await using watch = await server.watch(at.widgets, "&resourceVersion=1");
      assertEquals(watch.response.status, 200);
      const frame = await watch.next();
      assertEquals(frame?.type, "ERROR");
      assertObjectMatch(frame?.object, { kind: "Status", code: 410, reason: "Expired", status: "Failure" });
      assertEquals(await watch.next(), undefined);
    },
  },
  {
    name: "a watch with a bad selector or resourceVersion is refused before it starts",
    async run({ server, at }) {
      assertEquals((await server.get(`${at.widgets}?watch=1&labelSelector=a%20in%20b`)).status, 400);
      assertEquals((await server.get(`${at.widgets}?watch=1&fieldSelector=spec.code%3Db`)).status, 400);
      assertEquals((await server.get(`${at.widgets}?watch=1&resourceVersion=abc`)).status, 500);
    },
  },
  {
    name: "a watch as a table sends a table a frame, the columns once",
    async run({ server, at }) {
      const made = await server.created(at.widgets, at.widget("row"));
      await using watch = await server.watch(
        at.widgets,
        `&resourceVersion=${metadata(made).resourceVersion}`,
        TABLE,
      );
      await server.patch(`${at.widgets}/row`, { spec: { color: "green" } });
      await server.delete(`${at.widgets}/row`);
      const [modified, deleted] = [await watch.next(), await watch.next()];
      const rows = modified!.object.rows as { cells: string[] }[];
      assertEquals([modified!.type, modified!.object.kind, rows[0]!.cells.slice(0, 2)], [
        "MODIFIED",
        "Table",
        ["row", "green"],
      ]);
      assertEquals((modified!.object.columnDefinitions as JsonObject[]).length, 5);
      assertEquals([deleted!.type, deleted!.object.columnDefinitions], ["DELETED", null]);
    },
  },
];
