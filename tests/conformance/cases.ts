/** The behaviour of a Kubernetes API server that zen-watcher relies on: one list of cases for the real and the embedded server. */
import { changeCases } from "./changes.ts";
import { definitionCases } from "./definitions.ts";
import { kindCases } from "./kinds.ts";
import { listCases } from "./lists.ts";
import { objectCases } from "./objects.ts";
import type { Scratch, Server } from "./server.ts";
import { watchCases } from "./watches.ts";

/** One property of a server; `at` is a place for this case only. */
export interface Case {
  readonly name: string;
  /** The minor version of Kubernetes from which on a server does so, where older ones that the chart supports do not. */
  readonly since?: number;
  run(on: { readonly server: Server; readonly at: Scratch }): Promise<void>;
}

/** All of them. */
export const CASES: readonly Case[] = [
  ...objectCases,
  ...changeCases,
  ...definitionCases,
  ...kindCases,
  ...listCases,
  ...watchCases,
];
