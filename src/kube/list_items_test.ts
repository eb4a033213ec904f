import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { apiServer } from "../../tests/support/api_server.ts";
import { fixedConnection, type KubeObject, NetworkError, type ResourceType } from "./api.ts";
import { createKubeClient } from "./client.ts";
import { listItems, ListText, parsedItem } from "./list_items.ts";

const PODS: ResourceType = { group: "", version: "v1", plural: "pods", kind: "Pod", namespaced: true };
const ITEMS: readonly KubeObject[] = [
  { metadata: { name: "a" }, spec: { text: 'ends with \\" ]}, {[ "items": [ \\\\', list: [[], [{}], {}] } },
  { metadata: { name: "ü𝄞\u2028" }, items: [{ items: [1] }, "items"], "": "", none: null },
  { metadata: { name: "c" } },
];
const LISTS: readonly object[] = [
  { kind: "items", items: ITEMS, metadata: { continue: "x", items: [{ metadata: {} }] } },
  { metadata: { remainingItemCount: 7 }, more: [1, { items: [] }], items: ITEMS },
  { items: [], metadata: {} },
];

/** What is read of a text that comes in two pieces. */
function readIn(text: Uint8Array, at: number) {
  const list = new ListText(parsedItem);
  const first = [...list.add(text.slice(0, at)), ...list.add(text.slice(at))];
  const { items, metadata } = list.end();
  return { items: [...first, ...items], metadata };
}

Deno.test("ListText reads the same as JSON.parse, wherever the text is cut in two", () => {
  for (const list of LISTS) {
    const text = new TextEncoder().encode(JSON.stringify(list, null, 1));
    const { items, metadata } = JSON.parse(JSON.stringify(list));
    for (let at = 0; at <= text.length; at++) assertEquals(readIn(text, at), { items, metadata });
  }
});

Deno.test("ListText hands out items as they come, and reads items longer than its buffer", () => {
  const list = new ListText(parsedItem);
  const item = (name: string) => ({ metadata: { name }, text: "x".repeat(700_000) });
  const pieces = [
    '{"items":[',
    JSON.stringify(item("a")),
    `,${JSON.stringify(item("b"))}`,
    '],"metadata":{}}',
  ];
  const read = pieces.map((piece) =>
    list.add(new TextEncoder().encode(piece)).map((each) => each.metadata.name)
  );
  assertEquals(read, [[], ["a"], ["b"], []]);
  assertEquals(list.end(), { items: [], metadata: {} });
});

Deno.test("ListText reads an empty list as Go writes it, and refuses what is no list of objects", () => {
  const read = (text: string) => readIn(new TextEncoder().encode(text), 0);
  assertEquals(read('{"items":null,"metadata":{"continue":""}}'), { items: [], metadata: { continue: "" } });
  const whole = JSON.stringify(LISTS[0]);
  for (let end = 0; end < whole.length; end++) assertThrows(() => read(whole.slice(0, end)));
  for (
    const text of ["[]", "<html>", '{"items":{}}', '{"items":[{}]}', '{"items":[[]]}', '{"metadata":[]}']
  ) {
    assertThrows(() => read(text));
  }
});

Deno.test("listItems() says that an answer is no list, and cancels the request when the loop is left", async () => {
  let isCancelled = false;
  const piece = new TextEncoder().encode(`{"items":[${`${JSON.stringify(ITEMS[2])},`.repeat(20_000)}`);
  await using server = apiServer(({ query }) =>
    query.has("limit") ? new Response("<html>") : new Response(
      new ReadableStream({
        start: (controller) => controller.enqueue(piece),
        cancel: () => void (isCancelled = true),
      }),
    )
  );
  using api = createKubeClient(fixedConnection({ server: server.url }));
  await assertRejects(
    () => Array.fromAsync(listItems(api, PODS, { limit: 1 })),
    NetworkError,
    "Cannot list pods: the answer is no list of objects",
  );
  for await (const { items } of listItems(api, PODS)) {
    assertEquals(items[0], ITEMS[2]);
    break;
  }
  while (!isCancelled) await new Promise((resolve) => setTimeout(resolve, 5));
});
