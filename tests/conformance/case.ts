/** A case of conformance. */
import type { Scratch, Server } from "./server.ts";

/** One property of a server; `at` is a place for this case only. */
export interface Case {
  readonly name: string;
  /** The minor version of Kubernetes from which on a server does so, where older ones that the chart supports do not. */
  readonly since?: number;
  run(on: { readonly server: Server; readonly at: Scratch }): Promise<void>;
}
