/** `diff` and `why`: what changed, and what decided. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { at, create, startWorld, zen } from "./support/readers.ts";
import { OBSERVATIONS } from "../src/store/observations.ts";

Deno.test("diff shows new and resolved findings of a time span, worst first", async () => {
  await using world = await startWorld();
  const rules = async (...args: string[]) => {
    const { code, out } = await zen(["diff", "-o", "json", ...args], world);
    assertEquals(code, 0, args.join(" "));
    const { new: found, resolved } = JSON.parse(out);
    const names = (rows: readonly Record<string, string>[]) => rows.map(({ resource }) => resource);
    return [names(found), names(resolved)];
  };
  assertEquals(await rules(), [["web-7d4b9c6f5b-x2x4z"], ["api"]]);
  assertEquals(await rules("--since", "7d"), [["api", "web", "pay", "web-7d4b9c6f5b-x2x4z"], ["api"]]);
  assertEquals(await rules("--from", "49h", "--to", "24h"), [["web", "pay"], []]);
  assertEquals(await rules("--since", "7d", "-n", "pay"), [["pay"], []]);
  // A span has its begin in it and not its end.
  assertEquals(await rules("--from", at(30), "--to", at(2)), [["pay"], ["api"]]);
  assertEquals(await rules("--from", at(2)), [["web-7d4b9c6f5b-x2x4z"], []]);
  const { out } = await zen(["diff", "--since", "1h"], world);
  assertEquals(out, `${at(1)} to ${at(0)}: 0 new, 0 resolved\n`);
  assertEquals((await zen(["diff", "--from", "1h", "--to", "2h"], world)).code, 2);
  assertEquals((await zen(["diff", "--from", "1h", "--since", "2h"], world)).code, 2);
});

Deno.test("why shows an Observation, the verdict of the active filters and when it ends", async () => {
  await using world = await startWorld();
  await world.api.create(
    { group: "", version: "v1", plural: "configmaps", kind: "ConfigMap", namespaced: true },
    {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name: "zen-watcher-filter", namespace: "zen-system" },
      data: { "filter.json": JSON.stringify({ sources: { falco: { minSeverity: "HIGH" } } }) },
    } as never,
  );
  const { items } = await world.api.list(OBSERVATIONS, { fieldSelector: "spec.source=falco" });
  const name = items[0]?.metadata.name ?? "";
  const told = (await zen(["why", name], world)).out;
  assertStringIncludes(
    told,
    `${name} in shop: LOW Terminal shell in container on Pod/web-7d4b9c6f5b-x2x4z\n`,
  );
  assertStringIncludes(told, `First seen at ${at(2)}, last at ${at(2)}, 1 time.`);
  assertStringIncludes(told, "ConfigMap zen-system/zen-watcher-filter sources.falco: drop: ");
  const resolved =
    (await zen(["why", "--rule", "CVE-2024-3094", "--workload", "api", "-n", "shop"], world)).out;
  assertStringIncludes(resolved, `Phase Resolved since ${at(3)}. Its source no longer reports it.`);
  assertStringIncludes(resolved, "No filter of a ConfigMap or an ObservationFilter applies to it.");

  // Without the right to read filters, why shows the rest and names the right.
  using _fault = world.server.faults.add({ path: "/configmaps", effect: { kind: "deny" } });
  const { code, out } = await zen(["why", name], world);
  assertEquals(code, 0);
  assertStringIncludes(out, `First seen at ${at(2)}`);
  assertStringIncludes(out, "Filters cannot be read: you may not. Missing right: ");
  assertStringIncludes(out, "configmaps");
});

Deno.test("why shows for a missing Observation the same rule elsewhere and the state of its sources", async () => {
  await using world = await startWorld();
  const ask = async (...args: string[]) => (await zen(["why", ...args], world)).out;
  const missing = await ask("--rule", "CVE-2024-3094", "--workload", "pay", "-n", "pay");
  assertEquals(missing.split("\n").slice(0, 6), [
    'No Observation has the rule "CVE-2024-3094" on the workload "pay" in "pay".',
    "  It is found on 2 other workloads: shop/api, shop/web",
    `  kyverno reports 1 other finding on this workload, the latest seen at ${at(1)}.`,
    "  It is not among the last events that a filter or the storage budget left out.",
    '  Not looked at: the ConfigMap "zen-system/zen-watcher-filter-status" does not exist, so that nothing says what the ' +
    "filters of the ConfigMap left out.",
    "  No filter of a ConfigMap or an ObservationFilter is in force.",
  ]);
  assertStringIncludes(await ask("--rule", "CVE-0", "--workload", "new"), "may not have scanned it yet");
  assertStringIncludes(await ask("gone", "-n", "shop"), 'no Observation "gone" in the namespace "shop"');
  await create(world, { id: "many", namespace: "shop", rule: "CVE-2024-3094", source: "trivy" });
  assertEquals((await zen(["why"], world)).code, 2);
  assertEquals((await zen(["why", "a", "--rule", "b"], world)).code, 2);
});
