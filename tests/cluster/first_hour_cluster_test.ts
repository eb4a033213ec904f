/**
 * The walk of docs/first-hour.md, block by block in one shell, on a real API server. What no node is there for is done in
 * its place: the Deployment's Pod is a process at the Service's address, kube-apiserver is started with the page's files.
 */
import { assert, assertEquals } from "@std/assert";
import { dirname, join } from "node:path";
import { bundle } from "../../scripts/bundle.ts";
import type { Controller } from "../../scripts/support/controller.ts";
import { ensureTool } from "../../scripts/tools.ts";
import { valueIn } from "../support/chart.ts";
import { type Block, readPage, ROOT } from "../support/docs.ts";
import { type Envtest, startEnvtest } from "../support/envtest.ts";
import { eventually } from "../support/eventually.ts";
import { startPod } from "../support/pod.ts";
import { type Prometheus, startPrometheus } from "../support/prometheus.ts";
import { Reaper } from "../support/server_process.ts";
import { Shell } from "../support/shell.ts";
import { installed, openWorkplace, type Workplace } from "../support/workplace.ts";
import { isAllowed } from "../support/rights.ts";

const NAMESPACE = "zen-system";
const NAME = "zen-watcher";
const PROMETHEUS_URL = "127.0.0.1:9091";
const PATIENCE_MS = 90_000;

/** The whole of 127.0.0.0/8 is the loopback's on Linux alone; a server at every address would have the chart's ports there too. */
const ignore = Deno.build.os !== "linux" || ![8080, 9090].every(isFree) ||
  !await installed(["bash", "kubectl", "jq", "curl", "openssl", "sed", "grep"]);

Deno.test({
  name: "the first hour goes as docs/first-hour.md tells it",
  ignore,
  async fn() {
    const { blocks } = await readPage("docs/first-hour.md");
    const walked = blocks.filter(({ role }) => role.includes(" walk"));
    assertEquals(blocks.filter((block) => !walked.includes(block)), [], "every block is walked");
    await using walk = await Walk.start();
    for (const [index, block] of walked.entries()) {
      const next = walked[index + 1];
      await walk.step(block, next?.role === "text walk" ? next.text : undefined);
    }
    await assertNotesSay(walk.place.folder, walked);
  },
});

class Walk implements AsyncDisposable {
  readonly place: Workplace;
  readonly #cluster: Envtest;
  readonly #shell: Shell;
  /** Its folder holds the bundle, and what the kubelet would mount. */
  readonly #node: Reaper;
  #pod: Controller | undefined;
  #prometheus: Prometheus | undefined;

  private constructor({ cluster, place, node }: { cluster: Envtest; place: Workplace; node: Reaper }) {
    this.#cluster = cluster;
    this.place = place;
    this.#node = node;
    this.#shell = new Shell({ cwd: place.folder, env: place.env });
  }

  /** Services have addresses of this machine's loopback: what is sent to a Service arrives at a process that listens there. */
  static async start(): Promise<Walk> {
    const [second = 0, third = 0] = crypto.getRandomValues(new Uint8Array(2));
    const [cluster, helm, node] = await Promise.all([
      startEnvtest({
        controllerManager: true,
        auditWebhookUrl: "http://127.0.0.1:1/",
        extraArgs: [`--service-cluster-ip-range=127.${64 + second % 64}.${third}.0/24`],
      }),
      ensureTool("helm"),
      bundled(),
    ]);
    return new Walk({ cluster, place: await openWorkplace(cluster.kubeconfig(), [dirname(helm)]), node });
  }

  async step({ role, text, line }: Block, shown: string | undefined): Promise<void> {
    const where = `docs/first-hour.md:${line}`;
    if (role === "sh walk-run") this.#pod = await this.#schedule();
    else if (role === "text walk-audit") await this.#configureAudit();
    else if (role === "yaml walk-prometheus") {
      this.#prometheus = await startPrometheus(await this.#placed(text));
    } else if (role === "sh walk-until") {
      assert(shown !== undefined, where);
      let out = "";
      await eventually(`${where} to say what it shows`, async () => {
        out = await this.#shell.run(`(\n${await this.#placed(text)}\n) || true`);
        return says(out, shown);
      }, { timeoutMs: PATIENCE_MS }).catch((error) => assert(false, `${error}\n${out}`));
    } else if (role === "sh walk" || role === "sh walk-stop") {
      if (role === "sh walk-stop") await this.#stop();
      const out = await this.#shell.run(await this.#placed(text));
      assert(shown === undefined || says(out, shown), `${where} says:\n${out}`);
    } else assertEquals(role, "text walk", where);
  }

  /** Commands as they reach what the page reaches through a port-forward. */
  async #placed(text: string): Promise<string> {
    if (!text.includes("127.0.0.1:")) return text;
    const address = await this.#serviceAddress();
    return text.replaceAll(PROMETHEUS_URL, this.#prometheus?.address ?? PROMETHEUS_URL)
      .replaceAll(/127\.0\.0\.1:(8080|9090)\b/g, `${address}:$1`);
  }

  async #serviceAddress(): Promise<string> {
    const { body } = await this.#cluster.expect("GET", `/api/v1/namespaces/${NAMESPACE}/services/${NAME}`);
    return String(valueIn(body, "spec", "clusterIP"));
  }

  async #schedule(): Promise<Controller> {
    const { folder } = this.#node;
    const pod = await startPod(this.#cluster, {
      namespace: NAMESPACE,
      deployment: NAME,
      address: await this.#serviceAddress(),
      entry: join(folder, "dist/main.js"),
      folder,
    });
    await this.#node.add(pod.pid);
    return pod;
  }

  async #stop(): Promise<void> {
    assert(this.#pod);
    this.#pod.kill("SIGTERM");
    assertEquals((await this.#pod.exited).code, 0);
    await this.#node.remove(this.#pod.pid);
  }

  /** The page's kubeconfig and the policy of docs/sources.md, read at the start as kube-apiserver's flags say. */
  async #configureAudit(): Promise<void> {
    const { blocks } = await readPage("docs/sources.md");
    const policy = blocks.find(({ text }) => text.startsWith("apiVersion: audit.k8s.io/v1\nkind: Policy\n"));
    assert(policy, "docs/sources.md has the audit policy");
    const { folder } = this.#cluster;
    await Deno.copyFile(
      join(this.place.folder, "zen-watcher-audit.yaml"),
      join(folder, "audit-webhook.yaml"),
    );
    await Deno.writeTextFile(join(folder, "audit-policy.yaml"), policy.text);
    await this.#cluster.restartApiServer("SIGKILL");
    await eventually("the rules of RBAC to be read again", () => this.#mayListObservations());
  }

  #mayListObservations(): Promise<boolean> {
    const list = { group: "zen.kube-zen.io", resource: "observations", verb: "list" };
    return isAllowed(this.#cluster, `system:serviceaccount:${NAMESPACE}:${NAME}`, list);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#shell[Symbol.asyncDispose]();
    await this.#prometheus?.[Symbol.asyncDispose]();
    await this.#pod?.[Symbol.asyncDispose]();
    await this.place[Symbol.asyncDispose]();
    await this.#node[Symbol.asyncDispose]();
    await this.#cluster[Symbol.asyncDispose]();
  }
}

function isFree(port: number): boolean {
  try {
    Deno.listen({ hostname: "127.64.0.1", port }).close();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) return false;
    throw error;
  }
}

async function bundled(): Promise<Reaper> {
  const reaper = await Reaper.start("zen-pod-");
  await bundle(join(ROOT, "main.ts"), join(reaper.folder, "dist"));
  return reaper;
}

/** True where the output is what the page shows: `…` matches anything, alone on a line any lines; columns may move. */
function says(out: string, shown: string): boolean {
  const plain = (text: string) =>
    text.split("\n").map((line) => line.trim().replaceAll(/\s+/g, " ")).join("\n").trim();
  const lines = plain(shown).split("\n").map((line) =>
    line === "…" ? "(?:.*\n)*?" : `${line.split("…").map(escaped).join(".+")}\n`
  );
  return new RegExp(`^${lines.join("")}$`).test(`${plain(out)}\n`);
}

function escaped(text: string): string {
  return text.replaceAll(/[\\^$.*+?()[\]{}|/-]/g, "\\$&");
}

/** The page tells readers what the chart's notes told it. */
async function assertNotesSay(folder: string, blocks: readonly Block[]): Promise<void> {
  const notes = (await Deno.readTextFile(join(folder, "notes.txt"))).replaceAll(/^ {2}/gm, "");
  const page = blocks.map(({ text }) => text).join("");
  const token = /^TOKEN=.*$/m.exec(page)?.[0];
  const url = /^FALCO_URL=(.*)$/m.exec(page)?.[1];
  const kubeconfig = /^cat > zen-watcher-audit\.yaml <<END\n([\s\S]*?\nEND)$/m.exec(page)?.[1];
  for (const part of [token, url && `echo ${url}`, kubeconfig]) {
    assert(part !== undefined && notes.includes(part), `the notes do not say ${part}:\n${notes}`);
  }
}
