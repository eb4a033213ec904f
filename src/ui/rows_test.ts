import { assertEquals } from "@std/assert";
import { storedObservation } from "../../tests/support/observation.ts";
import { KeptRows, MAX_ROWS, phaseOf } from "./rows.ts";

const namesOf = (rows: KeptRows) => Array.from(rows.all(), ({ name }) => name).sort();
const observation = (id: string) => storedObservation({ id, namespace: "shop" });

Deno.test("KeptRows drops what a new list does not show, and keeps everything until that list is whole", () => {
  const rows = new KeptRows();
  const [one, two, three] = ["one", "two", "three"].map(observation) as [
    ReturnType<typeof observation>,
    ReturnType<typeof observation>,
    ReturnType<typeof observation>,
  ];
  rows.beginList();
  rows.apply(one);
  rows.apply(two);
  rows.endList();
  const before = rows.revision;
  rows.beginList();
  rows.apply(three);
  assertEquals(rows.size, 3);
  rows.beginList(); // the list broke off and starts anew
  rows.apply(two);
  rows.endList();
  assertEquals(namesOf(rows), [two.metadata.name]);
  assertEquals(rows.revision > before, true);
  rows.delete(two);
  assertEquals(rows.size, 0);
});

Deno.test("KeptRows keeps a limited number of rows, and still updates those that it has", () => {
  const rows = new KeptRows();
  const one = observation("one");
  const { metadata, spec } = one;
  rows.apply(one);
  for (let index = 1; index < MAX_ROWS + 5; index++) {
    rows.apply({ spec, metadata: { namespace: "shop", name: `n-${index}` } });
  }
  assertEquals([rows.size, rows.isFull], [MAX_ROWS, true]);
  rows.apply({ metadata, spec, status: { phase: "Resolved" } });
  assertEquals(rows.get("shop", metadata.name ?? "")?.phase, "Resolved");
});

Deno.test("phaseOf() shows an accepted row as Active once its exception ended, and endExceptions() tells of each end once", () => {
  const rows = new KeptRows();
  const exception = (expiresAt: string) => ({
    namespace: "shop",
    name: "held",
    since: "2026-01-01T00:00:00Z",
    expiresAt,
  });
  const [first, second] = ["2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"];
  for (const [id, expiresAt] of [["a", first], ["b", second]] as const) {
    rows.apply(
      storedObservation({
        id,
        namespace: "shop",
        status: { phase: "Accepted", exception: exception(expiresAt) },
      }),
    );
  }
  const activeAt = (ms: number) => [...rows.all()].filter((row) => phaseOf(row, ms) === "Active").length;
  const told = [
    Date.parse(first) - 1,
    Date.parse(first),
    Date.parse(first) + 1,
    Date.parse(second),
    Date.parse(second) + 1,
  ]
    .map((ms) => [rows.endExceptions(ms), activeAt(ms)]);
  assertEquals(told, [[false, 0], [true, 1], [false, 1], [true, 2], [false, 2]]);
});
