/** `accept`, and what the readers say of accepted findings, as a user calls them. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { parse } from "yaml";
import { OBSERVATION_EXCEPTIONS } from "../src/exceptions/kind.ts";
import type { DevWorld } from "./support/dev_world.ts";
import { ago, create, NOW, type Ran, startWorld, zen } from "./support/readers.ts";

const WHY = ["--reason", "accepted_risk", "--justification", "not loaded"];
const until = (days: number) => new Date(NOW + days * 86_400_000).toISOString().replace(".000", "");

function accept(world: DevWorld, ...args: string[]): Promise<Ran> {
  return zen(["accept", ...args], world);
}

Deno.test("accept writes an exception by name or selectors, and shows what it accepts", async () => {
  await using world = await startWorld();
  const named = (await zen(["get", "-oname", "-n", "pay"], world)).out.trim().split("/")[1] ?? "";
  const byName = await accept(world, named, "-n", "pay", ...WHY, "--expires", "30d", "--ticket", "T-1");
  assertEquals([byName.code, byName.err], [0, ""]);
  assertStringIncludes(byName.out, "disallow-latest-tag/require-image-tag");
  assertStringIncludes(byName.out, `created in "pay": it accepts 1 finding until ${until(30)}`);
  const { items: [written] } = await world.api.list(OBSERVATION_EXCEPTIONS, { namespace: "pay" });
  assertEquals(written?.metadata.name, "disallow-latest-tag-require-image-tag-pay");
  assertEquals(written?.spec, {
    match: {
      sources: ["kyverno"],
      rules: ["disallow-latest-tag/require-image-tag"],
      resources: [{ kind: "Deployment", name: "pay" }],
    },
    reason: "accepted_risk",
    justification: "not loaded",
    expiresAt: until(30),
    ticket: "T-1",
  });

  const selected = ["--rule", "CVE-2024-3094", "--workload", "web", "--severity", "HIGH+", "-n", "shop"];
  const dry = await accept(world, ...selected, ...WHY, "--expires", "2026-12-31", "--dry-run");
  assertEquals([dry.code, dry.err], [0, ""]);
  const [shown = "", manifest = ""] = dry.out.split("---\n");
  assertStringIncludes(shown, "It would accept 1 finding until 2026-12-31T00:00:00Z; nothing is written");
  assertEquals(shown.match(/CVE-2024-3094/g)?.length, 1);
  const { metadata, spec } = parse(manifest);
  assertEquals(metadata, { name: "cve-2024-3094-web", namespace: "shop" });
  assertEquals(spec.match, {
    rules: ["CVE-2024-3094"],
    workloads: ["web"],
    severities: ["CRITICAL", "HIGH"],
  });
  assertEquals((await world.api.list(OBSERVATION_EXCEPTIONS, { namespace: "shop" })).items, []);
  const only = await accept(
    world,
    ...selected,
    ...WHY,
    "--expires",
    "1w",
    "--only-while-no-fix",
    "--name",
    "xz",
  );
  assertEquals([only.code, only.err], [0, ""]);
  const stored = await world.api.get(OBSERVATION_EXCEPTIONS, "xz", { namespace: "shop" });
  assertEquals((stored.spec as Record<string, unknown>).onlyWhileNoFix, true);
  // A policy alone matches all of its rules.
  const policy = await accept(world, "--rule", "disallow-latest-tag", "-n", "pay", ...WHY, "--expires", "1d");
  assertEquals([policy.code, policy.err], [0, ""]);
});

Deno.test("accept refuses an exception without reason, end, rule or finding, and says how to correct it", async () => {
  await using world = await startWorld();
  const rule = ["--rule", "CVE-2024-3094", "-n", "shop"];
  const expires = ["--expires", "30d"];
  await create(world, { id: "act", namespace: "shop", kind: "occurrence", generation: 1, source: "audit" });
  const named = await zen(["get", "-oname", "-n", "shop", "--source", "audit"], world);
  const [, act = ""] = named.out.trim().split("/");
  const refused: readonly (readonly [args: string[], code: number, said: string])[] = [
    [[...rule, ...expires, "--justification", "x"], 2, "--reason"],
    [[...rule, ...expires, "--reason", "mitigated"], 2, "--justification"],
    [[...rule, ...WHY], 2, "--expires"],
    [[...rule, ...WHY, "--expires", "soon"], 2, "expected --expires to be like 90d"],
    [[...rule, ...WHY, "--expires", "2020-01-01"], 2, "a time to come"],
    [[...rule, ...expires, "--justification", "x", "--reason", "because"], 2, "Allowed choices"],
    [[...WHY, ...expires], 2, "expected the name of an Observation, or --rule or --resource"],
    [["--workload", "web", ...WHY, ...expires], 2, "expected --rule or --resource"],
    [["--resource", "web", "-n", "shop", ...WHY, ...expires], 2, "like Deployment/web"],
    [["--rule", "CVE-2024-3094", ...WHY, ...expires], 2, "expected -n NAMESPACE"],
    [[...rule, ...WHY, "--expires", "366d"], 1, "at most 365 days"],
    [["--rule", "CVE-0", "-n", "shop", ...WHY, ...expires], 1, 'no Active finding of "shop" matches it'],
    [["gone", "-n", "shop", ...WHY, ...expires], 1, "there is no such Observation"],
    [[act, "-n", "shop", ...WHY, ...expires], 1, "an act cannot be accepted"],
  ];
  for (const [args, code, said] of refused) {
    const ran = await accept(world, ...args);
    assertEquals([ran.code, ran.out], [code, ""], args.join(" "));
    assertStringIncludes(ran.err, said);
  }
  assertEquals((await accept(world, ...rule, ...WHY, ...expires)).code, 0);
  const twice = await accept(world, ...rule, ...WHY, ...expires);
  assertEquals(twice.code, 1);
  assertStringIncludes(twice.err, "Choose another with --name");
  using _fault = world.server.faults.add({
    verb: "create",
    path: "/observationexceptions",
    effect: { kind: "deny" },
  });
  assertStringIncludes(
    (await accept(world, ...rule, ...WHY, ...expires, "--name", "b")).err,
    "ClusterRole zen-watcher-risk-owner",
  );
});

/** An Observation that is stored as Accepted. */
async function accepted(world: DevWorld, id: string, expiresAt: string): Promise<void> {
  await create(world, {
    id,
    namespace: "shop",
    kind: "finding",
    resource: { apiVersion: "apps/v1", kind: "Deployment", name: id, namespace: "shop" },
    source: "trivy",
    severity: "HIGH",
    rule: "CVE-2025-1",
    status: {
      phase: "Accepted",
      firstSeenAt: ago(100),
      lastSeenAt: ago(1),
      exception: { namespace: "shop", name: "held", expiresAt, since: ago(5) },
    },
  });
}

Deno.test("readers show Accepted findings, and as Active those that their exception no longer covers", async () => {
  await using world = await startWorld();
  await accepted(world, "kept", ago(-24));
  await accepted(world, "over", ago(1));
  await world.api.create(OBSERVATION_EXCEPTIONS, {
    apiVersion: "zen.kube-zen.io/v1alpha1",
    kind: "ObservationException",
    metadata: { name: "held", namespace: "shop" },
    spec: {
      match: { rules: ["CVE-2025-1"] },
      reason: "mitigated",
      justification: "behind a proxy",
      ticket: "T-2",
      expiresAt: ago(1),
    },
  }, { namespace: "shop" });
  const resources = async (...args: string[]) => {
    const { out } = await zen(["rule", "CVE-2025-1", ...args], world);
    return out.trimEnd().split("\n").slice(1).map((line) => line.split(/ {2,}/));
  };
  assertEquals((await resources()).map((cells) => cells[3]), ["Deployment/over"]);
  assertEquals(
    (await resources("--all")).map((cells) => [cells[3], cells[6]]).sort(),
    [["Deployment/kept", "Accepted"], ["Deployment/over", "Active"]],
  );
  const told = (await zen(["why", "--rule", "CVE-2025-1", "--workload", "kept", "-n", "shop"], world)).out;
  assertStringIncludes(told, "Phase Accepted.");
  assertStringIncludes(told, `ObservationException shop/held accepts it since ${ago(5)} until ${ago(-24)}.`);
  assertStringIncludes(told, "mitigated: behind a proxy (T-2)");
  const over = (await zen(["why", "--rule", "CVE-2025-1", "--workload", "over", "-n", "shop"], world)).out;
  assertStringIncludes(over, "Phase Active.");
  assertStringIncludes(over, "which is over");

  world.server.requests.clear();
  const { observations } = JSON.parse((await zen(["why", "--rule", "CVE-2025-1", "-o", "json"], world)).out);
  assertEquals(observations.length, 2);
  const lists = (kind: string) => world.server.requests.count({ verb: "list", path: `/${kind}` });
  assertEquals(["observationexceptions", "ingesters", "observationmappings"].map(lists), [1, 1, 1]);

  const { accepted: changed, expired } = JSON.parse((await zen(["diff", "-o", "json"], world)).out);
  assertEquals(changed.map(({ resource }: { resource: string }) => resource).sort(), ["kept", "over"]);
  assertEquals(expired, [{
    namespace: "shop",
    name: "held",
    expiresAt: ago(1),
    reason: "mitigated",
    justification: "behind a proxy",
  }]);
  const { out } = await zen(["diff"], world);
  assertStringIncludes(out.split("\n")[0] ?? "", "2 (2 HIGH) accepted, 1 exception expired");
  assertStringIncludes(out, "ObservationException/held");
  {
    using _fault = world.server.faults.add({ path: "/observationexceptions", effect: { kind: "deny" } });
    const without = await zen(["diff"], world);
    assertEquals(without.code, 0);
    assertStringIncludes(without.err, "you may not list observationexceptions.zen.kube-zen.io");
    assertStringIncludes(
      (await zen(["why", "--rule", "CVE-2025-1", "--workload", "kept", "-n", "shop"], world)).out,
      "Why is not shown: you may not get observationexceptions.zen.kube-zen.io.",
    );
  }

  const csv = (await zen(["export", "-o", "csv", "--rule", "CVE-2025-1"], world)).out.split("\n");
  const titles = csv.find((line) => line.startsWith("id,"))?.split(",") ?? [];
  const kept = csv.find((line) => line.includes(",kept,"))?.split(",") ?? [];
  const cell = (title: string) => kept[titles.indexOf(title)];
  assertEquals(
    ["phase", "exception", "accepted_since", "accepted_until"].map(cell),
    ["Accepted", "shop/held", ago(5), ago(-24)],
  );
  const active = (await zen(["export", "-o", "csv", "--rule", "CVE-2025-1", "--phase", "Active"], world)).out;
  assert(!active.includes(",kept,") && active.includes(",over,"));
  const sarif = JSON.parse((await zen(["export", "-o", "sarif", "--rule", "CVE-2025-1"], world)).out);
  const suppressed = sarif.runs[0].results.filter((result: { suppressions?: unknown }) =>
    result.suppressions
  );
  assertEquals(suppressed.length, 1);
  const story = (await zen(["workload", "kept", "-n", "shop"], world)).out;
  assertStringIncludes(story, "nothing Active, 1 Accepted, 0 Resolved");
  assertStringIncludes(story, "accepted");
});
