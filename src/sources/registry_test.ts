import { assert, assertEquals } from "@std/assert";
import { readSettings } from "../settings.ts";
import { BUILT_IN, configMapNamespaces, RESERVED_SOURCES, SOURCES } from "./registry.ts";

Deno.test("each built-in source has a name of its own, which is reserved", () => {
  assertEquals(BUILT_IN.size, SOURCES.length);
  for (const { name } of SOURCES) assert(RESERVED_SOURCES.has(name), name);
  assert(RESERVED_SOURCES.has("policy-report"));
});

Deno.test("each path of a post feed belongs to one source", () => {
  const paths = SOURCES.flatMap(({ feeds }) =>
    feeds.flatMap((feed) => feed.type === "post" ? [feed.path] : [])
  );
  assertEquals(paths.length, new Set(paths).size);
  for (const path of paths) assert(path.startsWith("/"), path);
});

Deno.test("each setting that a feed names is declared by its source", () => {
  for (const { name, feeds, settings = [] } of SOURCES) {
    for (const feed of feeds) {
      const used = feed.type === "post"
        ? feed.ackTimeout
        : feed.type === "configmap"
        ? feed.namespace
        : undefined;
      if (typeof used === "object") assert(settings.includes(used), `${name}: ${used.env}`);
    }
  }
});

Deno.test("event types of a watched resource are event types of its source", () => {
  for (const { name, feeds, eventTypes } of SOURCES) {
    const resources = feeds.flatMap((feed) => feed.type === "watch" ? feed.resources : []);
    for (const { plural, eventTypes: reported = [] } of resources) {
      for (const type of reported) assert(Object.hasOwn(eventTypes, type), `${name}: ${plural}: ${type}`);
    }
  }
});

Deno.test("configMapNamespaces() follows the settings of the sources", () => {
  const env: Readonly<Record<string, string>> = { CHECKOV_NAMESPACE: "iac" };
  const namespaces = new Set(configMapNamespaces(readSettings((name) => env[name])));
  assert(namespaces.isSupersetOf(new Set(["kube-bench", "iac"])) && !namespaces.has("checkov"));
});
