import { assert, assertEquals, assertObjectMatch, assertStringIncludes } from "@std/assert";
import type { Case } from "./case.ts";
import { metadata, names, type Scratch, type Server, TABLE } from "./server.ts";
import type { JsonObject } from "../../src/model/json.ts";

/** Lists: order, pages, selectors, tables. */
export const listCases: Case[] = [
  {
    name: "a list has its kind, a resourceVersion and its items in order of name",
    async run({ server, at }) {
      await make(server, at, ["ord-b", "ord-a", "ord.c", "ord-c"], "order");
      const { body } = await server.get(`${at.widgets}?labelSelector=of%3Dorder`);
      assertEquals([body.kind, body.apiVersion], ["WidgetList", `${at.group}/v1`]);
      assertEquals(names(body), ["ord-a", "ord-b", "ord-c", "ord.c"]);
      assertObjectMatch((body.items as JsonObject[])[0], { kind: "Widget", apiVersion: `${at.group}/v1` });
      const everywhere = await server.get(`/apis/${at.group}/v1/widgets?labelSelector=of%3Dorder`);
      assertEquals(names(everywhere.body), names(body));
    },
  },
  {
    name: "items of a built-in list leave out kind and apiVersion",
    async run({ server, at }) {
      await server.created(at.core("configmaps"), { metadata: { name: "listed" }, data: { k: "v" } });
      const { body } = await server.get(at.core("configmaps"));
      assertEquals([body.kind, body.apiVersion], ["ConfigMapList", "v1"]);
      const item = (body.items as JsonObject[]).find((each) => metadata(each).name === "listed")!;
      assertEquals([item.kind, item.apiVersion, item.data], [undefined, undefined, { k: "v" }]);
      const one = await server.get(`${at.core("configmaps")}/listed`);
      assertEquals([one.body.kind, one.body.apiVersion], ["ConfigMap", "v1"]);
    },
  },
  {
    name: "pages of a list are one consistent snapshot, whatever is written in between",
    async run({ server, at }) {
      const path = await ownKind(at, "pages");
      for (const name of ["a", "b", "c", "d", "e"]) await server.created(path, gadget(at, "Page", name));
      const first = (await server.get(`${path}?limit=2`)).body;
      const { continue: token, remainingItemCount, resourceVersion } = metadata(first);
      assertEquals([names(first), remainingItemCount], [["a", "b"], 3]);
      await server.delete(`${path}/c`);
      await server.created(path, gadget(at, "Page", "bb"));
      await server.patch(`${path}/d`, { metadata: { labels: { changed: "yes" } } });
      const second = (await server.get(`${path}?limit=2&continue=${encodeURIComponent(String(token))}`)).body;
      assertEquals(names(second), ["c", "d"]);
      assertEquals(metadata((second.items as JsonObject[])[1]!).labels, undefined);
      assertEquals([metadata(second).resourceVersion, metadata(second).remainingItemCount], [
        resourceVersion,
        1,
      ]);
      const rest = encodeURIComponent(String(metadata(second).continue));
      const third = (await server.get(`${path}?limit=2&continue=${rest}`)).body;
      assertEquals([names(third), metadata(third).continue ?? ""], [["e"], ""]);
      assertEquals(names((await server.get(path)).body), ["a", "b", "bb", "d", "e"]);
      const past = await server.get(`${path}?resourceVersion=${resourceVersion}&resourceVersionMatch=Exact`);
      assertEquals(names(past.body), ["a", "b", "c", "d", "e"]);
      await at.uninstall("pages");
    },
  },
  {
    name: "a page of a selected list says nothing of how many remain",
    async run({ server, at }) {
      await make(server, at, ["sel-1", "sel-2", "sel-3"], "paged");
      const first = (await server.get(`${at.widgets}?labelSelector=of%3Dpaged&limit=2`)).body;
      assertEquals([names(first), metadata(first).remainingItemCount], [["sel-1", "sel-2"], undefined]);
      const token = encodeURIComponent(String(metadata(first).continue));
      const second = await server.get(`${at.widgets}?labelSelector=of%3Dpaged&limit=2&continue=${token}`);
      assertEquals(names(second.body), ["sel-3"]);
    },
  },
  {
    name: "bad list parameters are 400, a future resourceVersion 504",
    // 1.30 answers 500 to a resourceVersion that is no number.
    since: 34,
    async run({ server, at }) {
      for (
        const query of [
          "limit=x",
          "continue=abc",
          "resourceVersion=abc",
          "labelSelector=a%20in%20b",
          "fieldSelector=spec.color",
        ]
      ) {
        const { status, body } = await server.get(`${at.widgets}?${query}`);
        assertEquals([status, body.reason], [400, "BadRequest"], query);
      }
      const future = await server.get(`${at.widgets}?resourceVersion=999999999`);
      assertEquals([future.status, future.body.reason], [504, "Timeout"]);
      assertObjectMatch(future.body, {
        details: { retryAfterSeconds: 1, causes: { 0: { reason: "ResourceVersionTooLarge" } } },
      });
    },
  },
  {
    name: "label selectors: equality, sets, existence",
    async run({ server, at }) {
      for (const [name, color] of [["lab-1", "red"], ["lab-2", "green"], ["lab-3", "blue"]] as const) {
        const labels = { color, labels: "yes", [`only.io/${name}`]: "" };
        await server.created(at.widgets, at.widget(name, { metadata: { labels } }));
      }
      const cases: [string, string[]][] = [
        ["color=red", ["lab-1"]],
        ["color==red", ["lab-1"]],
        ["color!=red", ["lab-2", "lab-3"]],
        ["color in (red,blue)", ["lab-1", "lab-3"]],
        ["color notin ( red , blue )", ["lab-2"]],
        ["only.io/lab-2", ["lab-2"]],
        ["!only.io/lab-2", ["lab-1", "lab-3"]],
        ["only.io/lab-3=", ["lab-3"]],
        ["color in (red, green),color!=green", ["lab-1"]],
        ["missing=x", []],
        ["missing!=x", ["lab-1", "lab-2", "lab-3"]],
      ];
      for (const [selector, expected] of cases) {
        const { status, body } = await server.get(
          `${at.widgets}?labelSelector=${encodeURIComponent(`labels=yes,${selector}`)}`,
        );
        assertEquals([status, names(body)], [200, expected], selector);
      }
    },
  },
  {
    name: "field selectors: name, namespace, selectable fields; others are 400",
    since: 31,
    async run({ server, at }) {
      const green = at.widget("field-2", { spec: { color: "green" }, metadata: { labels: { of: "field" } } });
      await make(server, at, ["field-1"], "field");
      await server.created(at.widgets, green);
      const cases: [string, string[]][] = [
        ["metadata.name=field-1", ["field-1"]],
        ["metadata.name!=field-1", ["field-2"]],
        [`metadata.namespace=${at.namespace}`, ["field-1", "field-2"]],
        ["metadata.namespace=default", []],
        ["spec.color=green", ["field-2"]],
        ["spec.color==green,metadata.name=field-1", []],
        ["spec.color!=green", ["field-1"]],
        ["status.phase=New", ["field-1", "field-2"]],
      ];
      for (const [selector, expected] of cases) {
        const query = `labelSelector=of%3Dfield&fieldSelector=${encodeURIComponent(selector)}`;
        const { status, body } = await server.get(`${at.widgets}?${query}`);
        assertEquals([status, names(body)], [200, expected], selector);
      }
      const unknown = await server.get(`${at.widgets}?fieldSelector=spec.code%3Dx`);
      assertEquals([unknown.status, unknown.body.message], [400, "field label not supported: spec.code"]);
      const builtIn = await server.get(`${at.core("configmaps")}?fieldSelector=data.x%3Dx`);
      assertEquals(builtIn.status, 400);
      assertStringIncludes(String(builtIn.body.message), '"data.x" is not a known field selector');
    },
  },
  {
    name: "tables: columns of the definition, name first, ages in words, objects without their body",
    async run({ server, at }) {
      await server.created(at.widgets, at.widget("tabled", { metadata: { labels: { of: "table" } } }));
      const { body } = await server.get(`${at.widgets}?labelSelector=of%3Dtable`, { accept: TABLE });
      assertEquals([body.kind, body.apiVersion], ["Table", "meta.k8s.io/v1"]);
      const columns = (body.columnDefinitions as JsonObject[]).map((
        { name, type, priority },
      ) => [name, type, priority]);
      assertEquals(columns, [
        ["Name", "string", 0],
        ["Color", "string", 0],
        ["Count", "integer", 1],
        ["Code", "string", 0],
        ["Age", "date", 0],
      ]);
      const [row] = body.rows as { cells: unknown[]; object: JsonObject }[];
      assertEquals(row!.cells.slice(0, 4), ["tabled", "red", 3, null]);
      assert(/^\d+s$/.test(String(row!.cells[4])));
      assertEquals([row!.object.kind, row!.object.spec], ["PartialObjectMetadata", undefined]);
      assertEquals(metadata(row!.object).name, "tabled");
      const one = await server.get(`${at.widgets}/tabled?includeObject=Object`, { accept: TABLE });
      const [full] = one.body.rows as { object: JsonObject }[];
      assertEquals((full!.object.spec as JsonObject).color, "red");
    },
  },
];

async function make(server: Server, at: Scratch, list: readonly string[], of: string): Promise<void> {
  for (const name of list) {
    await server.created(at.widgets, at.widget(name, { metadata: { labels: { of } } }));
  }
}

async function ownKind(at: Scratch, plural: string): Promise<string> {
  const kind = plural[0]!.toUpperCase() + plural.slice(1, -1);
  const preserve = { type: "object", "x-kubernetes-preserve-unknown-fields": true };
  const version = { name: "v1", served: true, storage: true, schema: { openAPIV3Schema: preserve } };
  await at.install({
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${plural}.${at.group}` },
    spec: { group: at.group, scope: "Namespaced", names: { plural, kind }, versions: [version] },
  });
  return `/apis/${at.group}/v1/namespaces/${at.namespace}/${plural}`;
}

function gadget(at: Scratch, kind: string, name: string): JsonObject {
  return { apiVersion: `${at.group}/v1`, kind, metadata: { name } };
}
