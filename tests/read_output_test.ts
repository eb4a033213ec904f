/** What scripts rely on: the keys of `-o json` of each reader, and that docs/reading.md names each of them. */
import { assert, assertEquals } from "@std/assert";
import { parse } from "yaml";
import { isObject, type Json } from "../src/model/json.ts";
import { readPage } from "./support/docs.ts";
import { addFilters, startWorld, zen } from "./support/readers.ts";

const ROW = [
  ...[
    "name",
    "storedIn",
    "namespace",
    "source",
    "severity",
    "category",
    "eventType",
    "rule",
    "kind",
    "resource",
  ],
  ...["workload", "image", "message", "phase", "exception", "acceptedSince", "acceptedUntil", "occurrences"],
  ...["firstSeenAt", "lastSeenAt", "resolvedAt", "resolvedReason", "reopenedAt", "fingerprint", "type"],
];

/** The keys of each document. To change one breaks the scripts of users. */
const GOLDEN:
  readonly (readonly [args: readonly string[], keys: Readonly<Record<string, readonly string[]>>])[] = [
    [["top", "-o", "json"], {
      "": ["by", "since", "groups"],
      "groups[]": ["name", "counts", "new", "resolved", "oldest", "tools"],
      "groups[].counts": ["CRITICAL", "HIGH", "MEDIUM", "LOW", "UNKNOWN"],
    }],
    [["workload", "web", "-n", "shop", "-o", "json"], {
      "": ["workload", "story"],
      "story[]": ["at", "what", "row"],
      "story[].row": ROW,
    }],
    [["diff", "--since", "72h", "-o", "json"], {
      "": ["from", "to", "new", "reopened", "accepted", "resolved", "expired"],
      "new[]": ROW,
      "resolved[]": ROW,
    }],
    [["dropped", "-o", "json"], {
      "": ["documents", "drops", "missing"],
      "documents[]": ["document", "mode", "dropped", "wouldDrop", "note"],
      "drops[]": [
        "document",
        "mode",
        "time",
        "source",
        "severity",
        "rule",
        "namespace",
        "resource",
        "reason",
      ],
    }],
    [["coverage", "-o", "json"], {
      "": ["reports", "benchmarks", "policies", "missing"],
      "reports[]": ["source", "resource", "state", "reports", "newest", "oldest", "checks"],
      "reports[].checks": ["pass", "fail", "warn", "error", "skip"],
      "benchmarks": [],
      "policies": [],
    }],
    [["why", "--rule", "CVE-2024-3094", "-n", "shop", "-o", "json"], {
      "": ["observations", "said"],
      "observations[]": [
        ...["row", "detectedAt", "identity", "report", "end", "exceptions", "filters", "notes"],
      ],
      "observations[].row": ROW,
      "observations[].report": ["state"],
      "observations[].end": ["setting", "seconds", "deletedAfter", "said"],
      "observations[].filters[]": ["document", "verdict", "detail"],
    }],
    [["get", "-o", "json"], { "": ["apiVersion", "kind", "items"] }],
    [["rule", "CVE-2024-3094", "-o", "json"], { "": ["apiVersion", "kind", "items"] }],
  ];

/** The keys of each object in a document, by their path; objects of one list are one. */
function keysOf(value: Json, path = "", found = new Map<string, Set<string>>()): Map<string, Set<string>> {
  if (Array.isArray(value)) { for (const item of value) keysOf(item, `${path}[]`, found); }
  else if (isObject(value)) {
    const keys = found.get(path) ?? new Set();
    found.set(path, keys);
    for (const [key, inner] of Object.entries(value)) {
      keys.add(key);
      keysOf(inner as Json, path === "" ? key : `${path}.${key}`, found);
    }
  }
  return found;
}

Deno.test("-o json of every reader has the documented keys, and docs/reading.md names each of them", async () => {
  const { text } = await readPage("docs/reading.md");
  const documented = text.slice(text.indexOf("## For scripts"));
  await using world = await startWorld();
  await addFilters(world);
  for (const [args, golden] of GOLDEN) {
    const { code, out } = await zen(args, world);
    assertEquals(code, 0, args.join(" "));
    const found = keysOf(JSON.parse(out));
    const isList = args[0] === "get" || args[0] === "rule";
    for (const path of found.keys()) {
      assert(path in golden || (isList && path.startsWith("items[]")), `${args[0]} has ${path}`);
    }
    for (const [path, keys] of Object.entries(golden)) {
      assertEquals([...found.get(path) ?? []].sort(), [...keys].sort(), `${args.join(" ")}: ${path}`);
      if (isList) continue;
      for (const key of keys) assert(new RegExp(`\\b${key}\\b`).test(documented), `docs lack ${key}`);
    }
  }
  const [line = "{}"] = (await zen(["export", "-o", "json"], world)).out.split("\n")
    .filter((each) => each.includes("fingerprint"));
  const exported = Object.keys(JSON.parse(line));
  assertEquals(ROW.filter((key) => !exported.includes(key)), []);
});

/** The readers that print one document. */
const DOCUMENTS = [
  ["top"],
  ["workload", "web", "-n", "shop"],
  ["diff", "--since", "72h"],
  ["dropped"],
  ["coverage"],
];

Deno.test("-o yaml of every reader is the document of -o json", async () => {
  await using world = await startWorld();
  await addFilters(world);
  for (const args of [...DOCUMENTS, ["why", "--rule", "CVE-2024-3094", "-n", "shop"]]) {
    const [inJson, inYaml] = [
      await zen([...args, "-o", "json"], world),
      await zen([...args, "-oyaml"], world),
    ];
    // YAML leaves out what a terminal must not see.
    const shown = JSON.parse(inJson.out.replaceAll("\\u202e", ""));
    assertEquals([inYaml.code, parse(inYaml.out)], [0, shown], args.join(" "));
  }
});

Deno.test("-o csv of every reader is a table of equal records with the names of JSON's fields", async () => {
  await using world = await startWorld();
  await addFilters(world);
  const records = async (args: readonly string[]) => {
    const { code, out } = await zen([...args, "-o", "csv"], world);
    assertEquals(code, 0, args.join(" "));
    const [head = "", ...lines] = out.trimEnd().split("\n");
    for (const line of lines) {
      assertEquals([...line.matchAll(/"(?:[^"]|"")*"|[^,]+/g)].length, head.split(",").length, line);
    }
    return { head: head.split(","), lines };
  };
  for (const args of [...DOCUMENTS, ["get"], ["rule", "CVE-2024-3094", "--all"]]) {
    const { lines } = await records(args);
    assert(lines.length > 0, args.join(" "));
  }
  assertEquals((await records(["get"])).head, ROW);
  const { head, lines } = await records(["get", "-n", "pay"]);
  assertEquals(lines.length, 1);
  assertEquals(lines[0]?.split(",")[head.indexOf("rule")], "disallow-latest-tag/require-image-tag");
  assertEquals(lines[0]?.includes(`"'=HYPERLINK(`), true, "a formula is text");
  assertEquals((await records(["diff", "--since", "72h"])).lines.map((line) => line.split(",")[0]), [
    ...["new", "new", "new", "new"],
    "resolved",
  ]);
});
