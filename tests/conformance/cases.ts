/** The behaviour of a Kubernetes API server that zen-watcher relies on: one list of cases for the real and the embedded server. */
import type { Case } from "./case.ts";
import { changeCases } from "./changes.ts";
import { definitionCases } from "./definitions.ts";
import { kindCases } from "./kinds.ts";
import { listCases } from "./lists.ts";
import { objectCases } from "./objects.ts";
import { watchCases } from "./watches.ts";

/** All of them. */
export const CASES: readonly Case[] = [
  ...objectCases,
  ...changeCases,
  ...definitionCases,
  ...kindCases,
  ...listCases,
  ...watchCases,
];
