/** `ui`: the page in the browser, from the user's own machine. */
import type { Command } from "commander";
import { createKubeClient } from "../../kube/client.ts";
import { addCommand, type ClusterFlags, clusterFlags, type CommandContext, usage } from "../command.ts";
import { connectionOf } from "../connect.ts";
import { CommandError } from "../io.ts";
import { openBrowser } from "./browser.ts";

interface UiFlags extends ClusterFlags {
  readonly namespace?: string;
  readonly port: string;
  readonly open?: boolean;
}

/** Adds the command `ui`. */
export function ui(program: Command, context: CommandContext): void {
  const command = addCommand(program, {
    name: "ui",
    summary: "open the page in the browser",
    description:
      "Serves a page from this machine with your own rights, prints its address and opens the browser: what was found, " +
      "where, since when, and what became of it. Nothing runs in the cluster, and nothing leaves this machine.",
    examples: [
      ["ui", "the current context of the kubeconfig"],
      ["ui -n shop --port 8088 --no-open", "one namespace, on a fixed port, without opening a browser"],
    ],
    more:
      "An address is good once and for five minutes. Press Enter for another, for example for a second browser. Ctrl-C ends " +
      "the page.\n",
  });
  clusterFlags(command)
    .option("-n, --namespace <namespace>", "this namespace alone (default: all that you may list)")
    .option("--port <port>", "port on 127.0.0.1 (default: any free one)", "0")
    .option("--open", "open the browser (default: where this is a terminal)")
    .option("--no-open", "print the address alone")
    .action((flags: UiFlags) => context.finish(serve(flags, context)));
}

async function serve(flags: UiFlags, { io, settings }: CommandContext): Promise<number> {
  const port = /^\d{1,5}$/.test(flags.port) ? Number(flags.port) : NaN;
  if (!(port <= 65_535)) throw usage("ui", `expected --port to be a port, received "${flags.port}"`);
  const { startPage } = await import("../../ui/mod.ts");
  const values = settings();
  const connection = await connectionOf(flags, values);
  if (connection.context === undefined) {
    throw new CommandError(
      "Cannot serve the page: this is a Pod, whose rights are not a user's. Run zen-watcher ui on your own machine",
    );
  }
  using api = createKubeClient(connection);
  let address = "";
  const interrupted = Promise.withResolvers<void>();
  const end = () => interrupted.resolve();
  for (const signal of ENDING) Deno.addSignalListener(signal, end);
  try {
    await using page = await startPage({
      api,
      connection,
      settings: values,
      namespace: flags.namespace,
      port,
      onAddress: (fresh) => io.stdout(`${address = fresh}\n`),
    });
    const isOpened = flags.open ?? io.terminal?.() !== undefined;
    await using _browser = isOpened ? openBrowser(address, (note) => io.stderr(`${note}\n`)) : undefined;
    if (Deno.stdin.isTerminal()) void onEnter(() => io.stdout(`${page.address()}\n`));
    await interrupted.promise;
  } finally {
    for (const signal of ENDING) Deno.removeSignalListener(signal, end);
  }
  return 0;
}

const ENDING = ["SIGINT", "SIGTERM"] as const;

/** Calls `act` for each line, until standard input ends. */
async function onEnter(act: () => void): Promise<void> {
  const buffer = new Uint8Array(1_024);
  while (await Deno.stdin.read(buffer) !== null) act();
}
