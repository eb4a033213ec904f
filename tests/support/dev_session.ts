/** `deno task dev` as a developer runs it, and all that a cluster holds before and after. */
import { join } from "node:path";
import { isObject, type JsonObject } from "../../src/model/json.ts";
import { type KubeApi, type KubeObject, resourceName } from "../../src/kube/api.ts";
import { ROOT } from "./docs.ts";
import { eventually } from "./eventually.ts";

const DEV = ["run", "-A", "--no-prompt", "--no-check", join(ROOT, "scripts/dev.ts")];

/** Runs it to its end. */
export async function runDev(args: readonly string[]) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [...DEV, ...args],
    env: { NO_COLOR: "1" },
    stdin: "null",
  }).output();
  return { code, out: new TextDecoder().decode(stdout), err: new TextDecoder().decode(stderr) };
}

/** What it printed up to and with the addresses. */
export interface DevSession extends AsyncDisposable {
  readonly screen: string;
}

/** Starts it and waits for its first screen. Disposing interrupts it, as Ctrl-C does. */
export async function startDev(args: readonly string[] = []): Promise<DevSession> {
  const child = new Deno.Command(Deno.execPath(), {
    args: [...DEV, ...args],
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let screen = "";
  const read = async (stream: ReadableStream<Uint8Array>) => {
    const decoder = new TextDecoder();
    for await (const chunk of stream) screen += decoder.decode(chunk, { stream: true });
  };
  const reading = Promise.all([read(child.stdout), read(child.stderr)]);
  let ended = false;
  const status = child.status.finally(() => ended = true);
  try {
    await eventually("the first screen", () => ended || screen.includes("The metrics:"), {
      timeoutMs: 90_000,
    });
    if (ended) throw new Error(`deno task dev ended:\n${screen}`);
  } catch (error) {
    if (!ended) child.kill("SIGKILL");
    await Promise.all([status, reading]);
    throw error;
  }
  return {
    screen,
    async [Symbol.asyncDispose]() {
      if (!ended) child.kill("SIGINT");
      await Promise.all([status, reading]);
    },
  };
}

/** The names of all that the API server serves, without what is being deleted. Events are left out: they expire. */
export async function allObjects(api: KubeApi): Promise<string[]> {
  const { groups } = await api.getPath("/apis");
  const paths = (Array.isArray(groups) ? groups : []).flatMap((group) =>
    isObject(group) && isObject(group["preferredVersion"])
      ? [`/apis/${group["preferredVersion"]["groupVersion"]}`]
      : []
  );
  const names: string[] = [];
  for (const path of ["/api/v1", ...paths]) {
    // A group that is being removed is listed for a moment longer.
    const { resources } = await api.getPath(path).catch((): JsonObject => ({ resources: [] }));
    for (const each of Array.isArray(resources) ? resources.filter(isObject) : []) {
      const verbs = Array.isArray(each["verbs"]) ? each["verbs"] : [];
      if (each["name"] === "events" || !verbs.includes("list")) continue;
      const [version = "", group = ""] = path.replace(/^\/apis?\//, "").split("/").reverse();
      const type = { group, version, plural: String(each["name"]), kind: "", namespaced: false };
      for (const { metadata } of (await api.list<KubeObject & { metadata: Deletable }>(type)).items) {
        if (metadata.deletionTimestamp !== undefined) continue;
        names.push(`${resourceName(type)} ${metadata.namespace ?? ""}/${metadata.name}`);
      }
    }
  }
  return names.sort();
}

type Deletable = KubeObject["metadata"] & { readonly deletionTimestamp?: string };
