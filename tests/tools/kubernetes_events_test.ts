/** The Events that kube-controller-manager itself records, read by examples/kubernetes-events.yaml on a real API server. */
import { assert } from "@std/assert";
import { isObject, type JsonObject } from "../../src/model/json.ts";
import { startEnvtest } from "../support/envtest.ts";
import { eventually } from "../support/eventually.ts";
import { applyObjects, ensureNamespaces, listAll } from "../support/objects.ts";
import { startProgram } from "./program.ts";
import { checkReport } from "./report.ts";

const REPLICA_SETS = 12;

Deno.test("every Warning that controller-manager records is stored once, however often it is repeated", async () => {
  await using cluster = await startEnvtest({
    controllerManager: true,
    controllers: ["replicaset-controller"],
  });
  await ensureNamespaces(cluster, ["shop"]);
  // No Pod may be created: each ReplicaSet fails, and tries again.
  await applyObjects(cluster, [{
    apiVersion: "v1",
    kind: "ResourceQuota",
    metadata: { name: "none", namespace: "shop" },
    spec: { hard: { pods: "0" } },
  }]);
  await using app = await startProgram(cluster, { example: "kubernetes-events.yaml" });
  await applyObjects(cluster, Array.from({ length: REPLICA_SETS }, (_, index) => replicaSet(`web-${index}`)));
  const found = await eventually("every ReplicaSet to have failed more than once", async () => {
    const events = await warnings();
    const repeated = events.filter(({ count }) => Number(count) > 1);
    return new Set(repeated.map(keyOf)).size >= REPLICA_SETS && events;
  }, { timeoutMs: 120_000 });
  assert(found.length > REPLICA_SETS, "one Event for each Pod that was refused");
  const stored = async () => {
    const all = await listAll(cluster, "/apis/zen.kube-zen.io/v1/observations");
    return all.flatMap(({ spec }) => {
      if (!isObject(spec) || spec.source !== "kubernetes-events" || !isObject(spec.resource)) return [];
      return [
        `${spec.resource.kind} ${spec.resource.name} ${isObject(spec.details) ? spec.details.reason : ""}`,
      ];
    });
  };
  await eventually("every Warning to be stored", async () => {
    return new Set(await stored()).size >= new Set((await warnings()).map(keyOf)).size;
  });
  checkReport("kube-controller-manager's Events", (await warnings()).map(keyOf), await stored());
  assert(app.health.ready().ok);

  async function warnings(): Promise<JsonObject[]> {
    const events = await listAll(cluster, "/api/v1/events");
    return events.filter(({ type }) => type === "Warning");
  }
});

function keyOf({ involvedObject, reason }: JsonObject): string {
  return isObject(involvedObject) ? `${involvedObject.kind} ${involvedObject.name} ${reason}` : "";
}

function replicaSet(name: string): JsonObject {
  const labels = { app: name };
  return {
    apiVersion: "apps/v1",
    kind: "ReplicaSet",
    metadata: { name, namespace: "shop" },
    spec: {
      replicas: 2,
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: { containers: [{ name: "web", image: "none" }] } },
    },
  };
}
