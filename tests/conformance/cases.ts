/** What a Kubernetes API server does, as far as we lean on it: one list of cases for the real server and the embedded one. */
import { changeCases } from "./changes.ts";
import { definitionCases } from "./definitions.ts";
import { kindCases } from "./kinds.ts";
import { listCases } from "./lists.ts";
import { objectCases } from "./objects.ts";
import type { Scratch, Server } from "./server.ts";
import { watchCases } from "./watches.ts";

/** One thing to be true of a server; `at` is a place of its own there. */
export interface Case {
  readonly name: string;
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
