/** The program in this process on a real API server, as a user who may do all. */
import type { JsonObject } from "../../src/model/json.ts";
import { fixedConnection } from "../../src/kube/api.ts";
import { startTestApp, type TestApp } from "../support/app.ts";
import type { RealCluster } from "../support/cluster.ts";
import { loadExamples } from "../support/examples.ts";
import { applyObjects, ensureNamespaces } from "../support/objects.ts";
import { OWN_CRDS } from "../support/crds.ts";

export interface ToolProgramOptions {
  /** A file of examples/ to put in force. */
  readonly example?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Installs the CRDs and the example, if any, and starts the program. */
export async function startProgram(
  cluster: RealCluster,
  { example, env = {} }: ToolProgramOptions,
): Promise<TestApp> {
  await cluster.applyCrds(OWN_CRDS);
  await ensureNamespaces(cluster, ["zen-system"]);
  if (example) await applyObjects(cluster, (await loadExamples(example)) as unknown as JsonObject[]);
  const authorization = `Bearer ${cluster.user("admin").token}`;
  const server = fixedConnection({ server: cluster.url, caPem: cluster.caPem, authorization });
  return await startTestApp({ server, env });
}
