import { assertEquals } from "@std/assert";
import { confine } from "../pipeline/normalize.ts";
import { readSettings } from "../settings.ts";
import { inScope, scopeOf } from "./scope.ts";

const CASES: readonly { list?: string; cluster?: string; namespace?: string; expected: boolean }[] = [
  { namespace: "shop", expected: true },
  { expected: true },
  { cluster: "false", expected: false },
  { list: "shop,pay", namespace: "pay", expected: true },
  { list: "shop,pay", namespace: "other", expected: false },
  { list: "shop", expected: false },
  { list: "shop", cluster: "true", expected: true },
];

for (const { list = "", cluster = "", namespace, expected } of CASES) {
  Deno.test(`inScope() is ${expected} for namespace "${namespace ?? ""}" of shard "${list}", cluster-scoped "${cluster}"`, () => {
    const env: Readonly<Record<string, string>> = { WATCH_NAMESPACE: list, WATCH_CLUSTER_SCOPED: cluster };
    const scope = scopeOf(readSettings((name) => env[name]));
    assertEquals(
      inScope({ resource: { kind: "Pod", ...(namespace ? { namespace } : {}) } }, scope),
      expected,
    );
  });
}

Deno.test("a finding without a resource of its own is of its report's shard", () => {
  const env: Readonly<Record<string, string>> = { WATCH_NAMESPACE: "shop" };
  const scope = scopeOf(readSettings((name) => env[name]));
  for (const namespace of ["shop", "other"]) {
    const { resource } = confine(undefined, { namespace, confined: true });
    assertEquals(inScope({ ...(resource && { resource }) }, scope), namespace === "shop");
  }
});
