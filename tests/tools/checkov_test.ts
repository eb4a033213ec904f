/** Checkov on manifests and a Dockerfile: what it prints, put into a ConfigMap as docs/sources.md says, is stored. */
import { assert } from "@std/assert";
import { join } from "node:path";
import { ensureTool } from "../../scripts/tools.ts";
import { isObject, type Json, type JsonObject } from "../../src/model/json.ts";
import { startDevWorld } from "../support/dev_world.ts";
import { eventually } from "../support/eventually.ts";
import { checkReport } from "./report.ts";

const MANIFESTS = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      hostNetwork: true
      containers:
      - {name: web, image: nginx, securityContext: {privileged: true}}
      - {name: side, image: "busybox:latest"}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {ports: [{port: 80}]}
`;

Deno.test("what Checkov finds in manifests and a Dockerfile is stored once, and resolved when it is gone", async () => {
  const checkov = await ensureTool("checkov");
  const folder = await Deno.makeTempDir({ prefix: "zen-checkov-" });
  try {
    await Deno.writeTextFile(join(folder, "shop.yaml"), MANIFESTS);
    await Deno.writeTextFile(join(folder, "Dockerfile"), "FROM debian\nRUN apt-get update\nEXPOSE 22\n");
    const text = await scan(checkov, folder);
    const found = failedChecks(JSON.parse(text));
    assert(found.length > 20, `${found.length} found`);

    await using world = await startDevWorld({ namespaces: ["shop", "checkov"] });
    await world.create([configMap(text)]);
    await using app = await world.replica("zen-watcher-0", { env: { RESOLVE_GRACE_SECONDS: "1" } });
    await eventually("every finding to be stored", () => {
      return storedChecks(world.observations(), "Active").length >= found.length;
    }, { timeoutMs: 60_000 });
    checkReport("Checkov", found, storedChecks(world.observations()));

    // The Deployment is gone.
    await Deno.writeTextFile(join(folder, "shop.yaml"), MANIFESTS.split("---")[1] ?? "");
    const less = await scan(checkov, folder);
    await world.delete([configMap(text)]);
    await world.create([configMap(less)]);
    const left = failedChecks(JSON.parse(less));
    assert(left.length < found.length);
    await eventually("what is gone to be Resolved", () => {
      return storedChecks(world.observations(), "Active").length === left.length;
    }, { timeoutMs: 60_000 });
    checkReport("Checkov, after a fix", left, storedChecks(world.observations(), "Active"));
    assert(app.health.ready().ok);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

/** Its JSON, as the page's command prints it. It fails where a check does. */
async function scan(checkov: string, folder: string): Promise<string> {
  const { stdout, stderr } = await new Deno.Command(checkov, {
    args: ["-d", ".", "-o", "json", "--compact", "--quiet", "--skip-download"],
    cwd: folder,
    stdin: "null",
  }).output();
  const text = new TextDecoder().decode(stdout);
  assert(/^\s*[[{]/.test(text), text + new TextDecoder().decode(stderr));
  return text;
}

function configMap(results: string): JsonObject {
  const metadata = { name: "shop-manifests", namespace: "checkov", labels: { app: "checkov" } };
  return { apiVersion: "v1", kind: "ConfigMap", metadata, data: { "results.json": results } };
}

/** `check resource` of each failed check, of one framework's run or of several. */
function failedChecks(output: Json): string[] {
  const runs = Array.isArray(output) ? output : [output];
  return runs.flatMap((run) => {
    const results = isObject(run) && isObject(run.results) ? run.results.failed_checks : [];
    return (Array.isArray(results) ? results : []).filter(isObject).map((check) =>
      `${check.check_id} ${check.resource}`
    );
  });
}

function storedChecks(observations: readonly JsonObject[], phase?: string): string[] {
  return observations.flatMap(({ spec, status }) => {
    if (!isObject(spec) || spec.source !== "checkov" || !isObject(spec.details)) return [];
    if (phase !== undefined && !(isObject(status) && status.phase === phase)) return [];
    return [`${spec.details.checkID} ${spec.details.resource}`];
  });
}
