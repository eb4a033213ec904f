import { assertEquals } from "@std/assert";
import { createTable } from "./table.ts";

Deno.test("a narrow terminal shows the first columns whole, makes the last ones narrower and leaves out what does not fit", () => {
  const printed = (width: number) => {
    let text = "";
    const table = createTable(["RULE", "RESOURCE", "AGE", "MESSAGE"], {
      print: (more) => text += more,
      terminal: { width, colors: false },
    });
    table.add(["CVE-2024-10940", "Deployment/recommendations", "5d", "a heap buffer overflow in the parser"]);
    table.flush();
    return text.trimEnd().split("\n").at(-1);
  };
  assertEquals(
    printed(200),
    "CVE-2024-10940  Deployment/recommendations  5d   a heap buffer overflow in the parser",
  );
  assertEquals(printed(70), "CVE-2024-10940  Deployment/recommendations  5d   a heap buffer overfl…");
  assertEquals(printed(54), "CVE-2024-10940  Deployment/recom…  5d   a heap buffer…");
  assertEquals(printed(40), "CVE-2024-10940  Deployment/recomme…  5d");
  assertEquals(printed(30), "CVE-2024-10940  Deployment/re…");
  assertEquals(printed(10), "CVE-2024-…");
  // The size of a fresh pseudo-terminal is 0 × 0.
  assertEquals(printed(0), printed(200));
});
