/** `kubectl auth can-i` gives the answers that docs/security.md shows, on a real API server with zen-watcher's own rules. */
import { assert, assertEquals } from "@std/assert";
import { readSettings } from "../../src/settings.ts";
import { SOURCES } from "../../src/sources/registry.ts";
import { type Grant, rbacRules } from "../../src/sources/rbac.ts";
import { sharedEnvtest } from "../support/envtest.ts";
import { eventually } from "../support/eventually.ts";
import { readPages } from "../support/docs.ts";
import { OWN_CRDS } from "../support/crds.ts";

const NAME = "docs-can-i";
const RBAC = "/apis/rbac.authorization.k8s.io/v1";
const SUBJECT = { kind: "ServiceAccount", name: "zen-watcher", namespace: "zen-system" };

const cluster = await sharedEnvtest();
const blocks = (await readPages()).flatMap((page) => page.blocks.filter(({ role }) => role === "sh can-i"));
const kubectl = await new Deno.Command("kubectl", { args: ["version", "--client"] }).output().then(
  ({ success }) => success,
  () => false,
);

Deno.test({
  name: "docs: kubectl auth can-i gives the documented answers",
  ignore: !kubectl,
  async fn() {
    await cluster.applyCrds(OWN_CRDS);
    for (const name of ["zen-system", "kube-bench", "checkov", "shop"]) {
      await cluster.ask("POST", "/api/v1/namespaces", { body: { metadata: { name } } });
    }
    const grants = rbacRules(readSettings(() => undefined), SOURCES);
    await withdraw(grants);
    try {
      for (const grant of grants) await give(grant);
      // The authorizer learns of a binding by a watch.
      await eventually("the rules to be in force", async () => !(await answers(GIVEN_LAST)).includes("no"));
      let asked = 0;
      for (const { text } of blocks) {
        const documented = text.split("\n").filter((line) => line.startsWith("kubectl ")).map((line) =>
          line.replace(/^.*# (yes|no)$/, "$1")
        );
        assertEquals(await answers(text), documented, text);
        asked += documented.length;
      }
      assert(asked > 10);
    } finally {
      await withdraw(grants);
    }

    async function give({ namespace, rules }: Grant): Promise<void> {
      const place = namespace === "" ? RBAC : `${RBAC}/namespaces/${namespace}`;
      const kind = namespace === "" ? "ClusterRole" : "Role";
      const stripped = rules.map(({ apiGroups, resources, resourceNames, verbs }) => ({
        apiGroups: [...apiGroups],
        resources: [...resources],
        verbs: [...verbs],
        ...(resourceNames && { resourceNames: [...resourceNames] }),
      }));
      await cluster.expect("POST", `${place}/${kind.toLowerCase()}s`, {
        body: { metadata: { name: NAME }, rules: stripped },
      });
      const roleRef = { apiGroup: "rbac.authorization.k8s.io", kind, name: NAME };
      await cluster.expect("POST", `${place}/${kind.toLowerCase()}bindings`, {
        body: { metadata: { name: NAME }, roleRef, subjects: [SUBJECT] },
      });
    }

    async function withdraw(given: readonly Grant[]): Promise<void> {
      for (const { namespace } of given) {
        const place = namespace === "" ? `${RBAC}/cluster` : `${RBAC}/namespaces/${namespace}/`;
        for (const plural of ["rolebindings", "roles"]) {
          await cluster.ask("DELETE", `${place}${plural}/${NAME}`);
        }
      }
    }

    /** What each line of a block answers. A no makes kubectl end with 1. */
    async function answers(text: string): Promise<string[]> {
      const { stdout, stderr } = await new Deno.Command("bash", {
        args: ["-c", text],
        env: { KUBECONFIG: cluster.kubeconfigPath },
        stdin: "null",
      }).output();
      const out = new TextDecoder().decode(stdout);
      assert(out !== "", new TextDecoder().decode(stderr));
      return out.trim().split("\n").map((line) => line.split(" ")[0] ?? "");
    }
  },
});

/** One of a ClusterRole, one of the last Role. */
const GIVEN_LAST = `
kubectl auth can-i patch ingesters --subresource=status --as=system:serviceaccount:zen-system:zen-watcher
kubectl auth can-i list configmaps -n checkov --as=system:serviceaccount:zen-system:zen-watcher
`;
