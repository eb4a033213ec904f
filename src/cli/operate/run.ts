/** `run`: the controller. */
import type { Command } from "commander";
import { addCommand, type ClusterFlags, clusterFlags, type CommandContext } from "../command.ts";

/** Adds the command `run`. */
export function run(program: Command, { settings, run: runController, finish }: CommandContext): void {
  const command = addCommand(program, {
    name: "run",
    summary: "run the controller",
    description:
      "Runs the controller until SIGTERM. In a Pod it uses the Pod's service account; elsewhere it finds its " +
      "cluster as kubectl does. Its settings are environment variables.",
    examples: [
      ["run", "in a Pod, or on the current context of the kubeconfig"],
      ["run --kubeconfig ~/.kube/dev --context dev", "on another cluster"],
    ],
  });
  clusterFlags(command).action((flags: ClusterFlags) =>
    finish(runController({ ...flags, settings: settings() }))
  );
}
