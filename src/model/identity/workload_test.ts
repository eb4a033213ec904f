import { assertEquals } from "@std/assert";
import { workloadOf } from "./names.ts";

Deno.test("workloadOf() groups what Kubernetes generated under the name people gave", () => {
  const cases: [kind: string, name: string, workload: string | undefined][] = [
    ["Deployment", "web", "web"],
    ["deployment", "web-2", "web-2"],
    ["StatefulSet", "db-0", "db-0"],
    ["DaemonSet", "agent-v2", "agent-v2"],
    ["CronJob", "backup", "backup"],
    ["ReplicaSet", "web-5d59d67564", "web"],
    ["ReplicaSet", "gateway-https", "gateway-https"],
    ["Job", "backup-28392845", "backup"],
    ["Job", "import-20261128", "import-20261128"],
    ["Pod", "web-5d59d67564-x2vbn", "web"],
    ["Pod", "backup-28392845-x2vbn", "backup"],
    ["Pod", "import-20261128-x2vbn", "import-20261128"],
    ["Pod", "agent-x2vbn", "agent"],
    ["Pod", "db-0", "db"],
    ["Pod", "etcd-control-plane", "etcd-control-plane"],
    ["Node", "n1", undefined],
    ["Secret", "web", undefined],
    ["", "web", undefined],
    ["Pod", "", undefined],
  ];
  for (const [kind, name, workload] of cases) {
    assertEquals(workloadOf({ kind, name }), workload, `${kind} ${name}`);
  }
  assertEquals(workloadOf(undefined), undefined);
});
