/**
 * Asks an API server for its version, or for its own user, as a Pod would: `tls_probe.ts FOLDER HOST PORT read|write`.
 * What a process trusts is decided when it starts; what has a body is sent by another client than what has none.
 */
import { inClusterConnection, type KubeObject } from "../../src/kube/api.ts";
import { createKubeClient } from "../../src/kube/client.ts";

const [folder = "", host = "", port = "", how] = Deno.args;
const REVIEWS = {
  group: "authentication.k8s.io",
  version: "v1",
  plural: "selfsubjectreviews",
  kind: "SelfSubjectReview",
  namespaced: false,
};

using api = createKubeClient(await inClusterConnection({ host, port, folder }));
try {
  if (how === "write") {
    const { kind, gitVersion } = await api.create<KubeObject>(REVIEWS, { metadata: {} });
    print(`answered ${gitVersion ?? kind}`);
  } else {
    const { gitVersion } = await api.getPath("/version");
    print(`answered ${gitVersion}`);
  }
} catch (error) {
  print(`refused: ${error instanceof Error ? error.message : error}`);
}

function print(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(line));
}
