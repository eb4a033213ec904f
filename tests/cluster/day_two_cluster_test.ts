/**
 * The life of a release as docs/upgrade.md, docs/day-two.md and docs/backup.md tell it: their blocks marked `sh day-two`, run in
 * one shell against a real API server, from the chart before this one to the end.
 */
import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { dirname } from "node:path";
import { exec } from "../../scripts/support/run.ts";
import { ensureTool } from "../../scripts/tools.ts";
import type { JsonObject } from "../../src/model/json.ts";
import { valueIn } from "../support/chart.ts";
import { type Block, readPage, ROOT } from "../support/docs.ts";
import { startEnvtest } from "../support/envtest.ts";
import { eventually } from "../support/eventually.ts";
import { ensureNamespaces, listAll } from "../support/objects.ts";
import { pretendNodes } from "../support/pretend_nodes.ts";
import { Shell } from "../support/shell.ts";
import { installed, openWorkplace } from "../support/workplace.ts";

const PAGES = ["docs/upgrade.md", "docs/day-two.md", "docs/backup.md"];
const OBSERVATIONS = "/apis/zen.kube-zen.io/v1/observations";
const SYSTEM = "system:serviceaccount:zen-system:zen-watcher";

const blocks = (await Promise.all(PAGES.map(readPage))).flatMap((page) =>
  page.blocks.filter(({ role }) => role === "sh day-two")
);
const before = await chartBefore();

Deno.test({
  name: "the commands of day two do what their pages say, and lose no Observation",
  ignore: before === undefined || !await installed(["kubectl", "openssl"]),
  async fn(t) {
    await using cluster = await startEnvtest();
    await ensureNamespaces(cluster, ["zen-system", "shop", "payments", "backup"]);
    await using _nodes = pretendNodes(cluster, { namespace: "zen-system", name: "zen-watcher" });
    await using place = await openWorkplace(
      await Deno.readTextFile(cluster.kubeconfigPath),
      [dirname(await ensureTool("helm"))],
    );
    await using shell = new Shell({ cwd: place.folder, env: place.env });
    await shell.run('helm() { timeout 120 helm "$@"; }; kubectl() { timeout 120 kubectl "$@"; }');
    const left = new Set(blocks);
    const follow = async (words: string) => {
      const [block, ...others] = blocks.filter(({ text }) => text.includes(words));
      assert(block && others.length === 0, words);
      left.delete(block);
      return await shell.run(block.text);
    };
    const secret = async (name: string, key: string) => {
      const { body } = await cluster.expect("GET", `/api/v1/namespaces/zen-system/secrets/${name}`);
      return atob(String(valueIn(body, "data", key)));
    };
    const environment = async (name: string) => {
      const path = "/apis/apps/v1/namespaces/zen-system/deployments/zen-watcher";
      const list = valueIn(
        (await cluster.expect("GET", path)).body,
        "spec",
        "template",
        "spec",
        "containers",
        0,
        "env",
      );
      return (Array.isArray(list) ? list : []).map((each) =>
        valueIn(each, "name") === name ? valueIn(each, "value") : null
      )
        .find((value) => value !== null);
    };
    const stored = async () =>
      (await listAll(cluster, OBSERVATIONS)).map(({ metadata }) => valueIn(metadata, "name")).sort();
    const store = async (user: string, namespace: string, name: string) => {
      const body = observation(name);
      await eventually(`${user} to be admitted`, async () => {
        const path = `/apis/zen.kube-zen.io/v1/namespaces/${namespace}/observations`;
        return (await cluster.ask("POST", path, { body, as: cluster.clientCert(user) })).status === 201;
      });
    };

    await t.step("the chart before is upgraded", async () => {
      await shell.run(`helm install zen-watcher '${before}' -n zen-system --set tls.enabled=true`);
      await store(SYSTEM, "shop", "one");
      const said = await follow("before-upgrade.ndjson.gz");
      for (const words of ["STATUS: deployed", "successfully rolled out", "Phase:          Succeeded"]) {
        assert(said.includes(words), said);
      }
      assertEquals(await stored(), ["one"]);
    });

    await t.step("a rotated token is the one that an upgrade keeps", async () => {
      const old = await secret("zen-watcher-webhook", "token");
      await follow("TOKEN=$(openssl");
      const token = await secret("zen-watcher-webhook", "token");
      assertMatch(token, /^[0-9a-f]{40}$/);
      assertNotEquals(token, old);
      await shell.run("helm -n zen-system upgrade zen-watcher helm/zen-watcher --reuse-values");
      assertEquals(await secret("zen-watcher-webhook", "token"), token);
    });

    await t.step("certificate and CA are new, and signed by each other", async () => {
      const old = await secret("zen-watcher-tls", "ca.crt");
      assertMatch(await follow("delete secret zen-watcher-tls"), /subject=.*zen-watcher-ca[\s\S]*notAfter=/);
      assertNotEquals(await secret("zen-watcher-tls", "ca.crt"), old);
      await Deno.writeTextFile(`${place.folder}/tls.crt`, await secret("zen-watcher-tls", "tls.crt"));
      assertMatch(await shell.run("openssl verify -CAfile ca.crt tls.crt"), /tls\.crt: OK/);
    });

    await t.step("raised limits reach the Pods as they were written", async () => {
      await follow("OBSERVATION_MAX_TOTAL=100000");
      assertEquals(
        [await environment("OBSERVATION_MAX_TOTAL"), await environment("OBSERVATION_MAX_BYTES")],
        ["100000", "512MiB"],
      );
    });

    await t.step("a restorer is admitted for as long as it is named", async () => {
      await follow("statusIntegrity.restorers");
      await store("system:serviceaccount:backup:restore", "shop", "restored");
      await shell.run(
        "helm -n zen-system upgrade zen-watcher helm/zen-watcher --reuse-values --set 'statusIntegrity.restorers=null'",
      );
    });

    await t.step("each shard has its Lease, and both may write", async () => {
      const said = await follow("zen-watcher-payments");
      assertMatch(said, /zen-payments +zen-watcher-leader-election-payments/);
      assertMatch(said, /zen-system +zen-watcher-leader-election /);
      assertEquals(await environment("WATCH_NAMESPACE"), "shop");
      await store(SYSTEM, "shop", "from-the-first");
      await store("system:serviceaccount:zen-payments:zen-watcher-payments", "payments", "from-the-second");
      await shell.run("helm -n zen-payments uninstall zen-watcher-payments");
    });

    const all = ["from-the-first", "from-the-second", "one", "restored"];
    await t.step("a rollback goes back by one and keeps every Observation", async () => {
      await follow("rollback zen-watcher");
      assertEquals(await environment("WATCH_NAMESPACE") ?? "", "");
      assertEquals(await stored(), all);
    });

    await t.step("an uninstalled release leaves Observations and token to the next", async () => {
      const token = await secret("zen-watcher-webhook", "token");
      await follow("uninstall zen-watcher");
      assertEquals(await stored(), all);
      await shell.run("helm install zen-watcher helm/zen-watcher -n zen-system --set tls.enabled=true");
      assertEquals([await stored(), await secret("zen-watcher-webhook", "token")], [all, token]);
    });

    await t.step("what Helm keeps is deleted by the last commands", async () => {
      await shell.run("helm -n zen-system uninstall zen-watcher");
      await follow("delete crd");
      const names = await cluster.expect("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions");
      assert(!JSON.stringify(names.body).includes("zen.kube-zen.io"));
      const { status } = await cluster.ask(
        "GET",
        "/api/v1/namespaces/zen-system/secrets/zen-watcher-webhook",
      );
      assertEquals(status, 404);
    });

    assertEquals([...left].map(({ text }: Block) => text), [], "every command was run");
  },
});

/** The chart as it was before the last commit that changed it; undefined where the history does not reach so far. */
async function chartBefore(): Promise<string | undefined> {
  const commits = await exec("git", ["-C", ROOT, "rev-list", "-n", "2", "HEAD", "--", "helm/zen-watcher"])
    .catch(() => "");
  const [, commit] = commits.trim().split("\n");
  if (commit === undefined) return undefined;
  const folder = await Deno.makeTempDir({ prefix: "zen-chart-before-" });
  Deno.test.afterAll(() => Deno.remove(folder, { recursive: true }));
  await exec("bash", ["-c", `git -C '${ROOT}' archive ${commit} helm/zen-watcher | tar -xC '${folder}'`]);
  return `${folder}/helm/zen-watcher`;
}

function observation(name: string): JsonObject {
  return {
    apiVersion: "zen.kube-zen.io/v1",
    kind: "Observation",
    metadata: { name },
    spec: {
      source: "falco",
      category: "security",
      severity: "HIGH",
      eventType: "runtime-threat",
      rule: "A rule",
    },
  };
}
