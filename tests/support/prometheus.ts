/** A Prometheus of a test's own. */
import { assert } from "@std/assert";
import { join } from "node:path";
import { ensureTool } from "../../scripts/tools.ts";
import { isObject } from "../../src/core/json.ts";
import { choosePorts } from "./control_plane.ts";
import { eventually } from "./eventually.ts";

export interface Prometheus extends AsyncDisposable {
  /** `127.0.0.1:9091`. */
  readonly address: string;
  /** The result of an instant query; throws where Prometheus refuses it. */
  query(expr: string): Promise<readonly unknown[]>;
}

/** Starts it with this configuration and waits until it answers. */
export async function startPrometheus(config: string): Promise<Prometheus> {
  await ensureTool("promtool"); // Of the same package.
  const folder = await Deno.makeTempDir({ prefix: "zen-prometheus-" });
  await Deno.writeTextFile(join(folder, "prometheus.yml"), config);
  const address = `127.0.0.1:${choosePorts().apiServer}`;
  const child = new Deno.Command("prometheus", {
    args: [
      `--config.file=${folder}/prometheus.yml`,
      `--storage.tsdb.path=${folder}/data`,
      `--web.listen-address=${address}`,
      "--log.level=error",
    ],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  const base = `http://${address}`;
  await eventually("Prometheus to be ready", async () => {
    const response = await fetch(`${base}/-/ready`);
    await response.body?.cancel();
    return response.ok;
  });
  return {
    address,
    async query(expr) {
      const response = await fetch(`${base}/api/v1/query?query=${encodeURIComponent(expr)}`);
      const body: unknown = await response.json();
      assert(
        isObject(body) && body.status === "success" && isObject(body.data),
        `${expr}: ${JSON.stringify(body)}`,
      );
      const { result } = body.data;
      return Array.isArray(result) ? result : [result];
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.status;
      await Deno.remove(folder, { recursive: true });
    },
  };
}
