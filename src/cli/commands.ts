/**
 * Every command, in the order of the help. To add one, write a module that exports a `Register` and add it here. What such a
 * module imports is loaded by every command, so it imports what is heavy inside its action.
 */
import type { Register } from "./command.ts";
import { completion } from "./completion.ts";
import { check } from "./operate/check.ts";
import { explain } from "./operate/explain.ts";
import { accept } from "./read/accept.ts";
import { coverage } from "./read/coverage.ts";
import { diff } from "./read/diff.ts";
import { dropped } from "./read/dropped.ts";
import { exportFindings } from "./read/export.ts";
import { get, rule } from "./read/get.ts";
import { top } from "./read/top.ts";
import { ui } from "./read/ui.ts";
import { why } from "./read/why.ts";
import { workload } from "./read/workload.ts";
import { run } from "./operate/run.ts";
import { test } from "./operate/test_cases.ts";
import { version } from "./version.ts";

/** Heading in the help, and the commands below it. */
export const COMMANDS: readonly (readonly [heading: string, commands: readonly Register[]])[] = [
  ["Controller:", [run]],
  ["Readers:", [top, get, rule, workload, diff, why, dropped, coverage, exportFindings, ui]],
  ["Decisions:", [accept]],
  ["Rules:", [check, explain, test]],
  ["Others:", [completion, version]],
];
