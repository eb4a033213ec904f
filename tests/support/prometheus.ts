/** A Prometheus of a test's own. */
import { assert } from "@std/assert";
import { join } from "node:path";
import { ensureTool } from "../../scripts/tools.ts";
import { isObject } from "../../src/model/json.ts";
import { choosePorts } from "./control_plane.ts";
import { Reaper, ServerProcess } from "./server_process.ts";

export interface Prometheus extends AsyncDisposable {
  /** `127.0.0.1:9091`. */
  readonly address: string;
  /** The result of an instant query; throws where Prometheus refuses it. */
  query(expr: string): Promise<readonly unknown[]>;
}

const START_TIMEOUT_MS = 60_000;

/** Runs promtool; resolves with all that it prints. */
export async function promtool(args: readonly string[], input = ""): Promise<string> {
  const child = new Deno.Command(await ensureTool("promtool"), {
    args: [...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  const { stdout, stderr } = await child.output();
  return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
}

/** Starts it with this configuration and waits until it answers. */
export async function startPrometheus(text: string): Promise<Prometheus> {
  await ensureTool("promtool"); // Of the same package.
  const reaper = await Reaper.start("zen-prometheus-");
  const config = join(reaper.folder, "prometheus.yml");
  await Deno.writeTextFile(config, text);
  const address = `127.0.0.1:${choosePorts().apiServer}`;
  const server = new ServerProcess(reaper, "prometheus", [
    "prometheus",
    `--config.file=${config}`,
    `--storage.tsdb.path=${join(reaper.folder, "data")}`,
    `--web.listen-address=${address}`,
    "--log.level=error",
  ]);
  const base = `http://${address}`;
  async function stop(): Promise<void> {
    await server.stop("SIGKILL");
    await reaper[Symbol.asyncDispose]();
  }
  try {
    await server.start();
    await server.ready(async () => {
      const response = await fetch(`${base}/-/ready`);
      await response.body?.cancel();
      return response.ok;
    }, START_TIMEOUT_MS);
  } catch (error) {
    await stop();
    throw error;
  }
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
    [Symbol.asyncDispose]: stop,
  };
}
