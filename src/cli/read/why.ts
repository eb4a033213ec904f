/** `why`: what decided about an Observation, or about one that is not there. */
import type { Command } from "commander";
import { OBSERVATION_EXCEPTIONS } from "../../exceptions/kind.ts";
import { isObject } from "../../model/json.ts";
import { compileFilters } from "../../filters/filter.ts";
import { hasStatus, type KubeApi } from "../../kube/api.ts";
import { ANNOTATIONS, LABELS } from "../../model/observation.ts";
import { parseTime } from "../../model/time.ts";
import { readObservation, readObservations } from "../../read/observations.ts";
import { type ObservationRow, resourceNameOf, toRow } from "../../read/row.ts";
import type { Settings } from "../../settings.ts";
import type { StoredObservation } from "../../store/observations.ts";
import { addCommand, type CommandContext, usage } from "../command.ts";
import { plural } from "../output/problems.ts";
import { eventOf } from "./event_of.ts";
import { documentsInForce, leftOutLines, unreadableFilters } from "./left_out.ts";
import { openReader, type Reader, type ReaderFlags, readerFlags } from "./reader.ts";

interface WhyFlags extends ReaderFlags {
  readonly rule?: string;
  readonly workload?: string;
}

/** Most Observations that are shown in full if several match. */
const TOLD = 5;

/** Adds the command `why`. */
export function why(program: Command, context: CommandContext): void {
  const command = addCommand(program, {
    name: "why [observation]",
    summary: "tell why an Observation is there, or why one is not",
    description:
      "Tells what was seen and when, what filters say of it, and what ends it. With --rule and --workload it tells why " +
      "there is no such Observation, where there is none: what filters and the storage budget left out, and what the filters " +
      "in force say.",
    examples: [
      ["why trivy-4zt8hsz8yggbzz5sx7ph -n shop", "one Observation"],
      ["why --rule CVE-2024-3094 --workload web -n shop", "whether it is there, and why not"],
    ],
    more:
      "What filters say takes the right to read them: get the ConfigMaps zen-watcher-filter and zen-watcher-filter-status, " +
      "list observationfilters, ingesters and observationmappings in the controller's namespace (POD_NAMESPACE, default " +
      "zen-system).\n",
  });
  readerFlags(command)
    .option("--rule <rule>", "the source's id of what was found")
    .option("--workload <workload>", "the workload it was found on")
    .action(async (name: string | undefined, flags: WhyFlags) => {
      if ((name === undefined) === (flags.rule === undefined)) {
        throw usage("why", "expected the name of an Observation, or --rule");
      }
      using reader = await openReader(flags, context);
      const settings = context.settings();
      const lines = name === undefined
        ? await tellRule(reader, { settings, rule: flags.rule ?? "", workload: flags.workload })
        : await tellName(reader, { settings, name });
      context.io.stdout(`${lines.join("\n")}\n`);
      await context.finish(0);
    });
}

interface NameQuestion {
  readonly settings: Settings;
  readonly name: string;
}

async function tellName(reader: Reader, { settings, name }: NameQuestion): Promise<string[]> {
  const { api, selection } = reader;
  const observation = await readObservation(api, name, selection);
  if (observation) return await tell(reader, observation, settings);
  const where = selection.namespace === undefined
    ? "any namespace"
    : `the namespace "${selection.namespace}"`;
  return [
    `There is no Observation "${name}" in ${where}.`,
    "It was never stored, or it expired: Resolved and old ones are deleted.",
  ];
}

interface RuleQuestion {
  readonly settings: Settings;
  readonly rule: string;
  readonly workload: string | undefined;
}

async function tellRule(reader: Reader, { settings, rule, workload }: RuleQuestion): Promise<string[]> {
  const { api, selection, reading } = reader;
  const found: StoredObservation[] = [];
  for await (const page of readObservations(api, { ...selection, rule, workload }, reading)) {
    found.push(...page);
  }
  if (found.length > 0) {
    const told: string[] = [];
    for (const each of found.slice(0, TOLD)) told.push(...await tell(reader, each, settings), "");
    if (found.length > TOLD) told.push(`${found.length - TOLD} more: zen-watcher rule ${rule} --all`);
    return told;
  }
  const target = workload === undefined ? "" : ` on the workload "${workload}"`;
  const where = selection.namespace === undefined ? "" : ` in "${selection.namespace}"`;
  const lines = [`No Observation has the rule "${rule}"${target}${where}.`];
  lines.push(await otherPlaces(reader, rule));
  if (workload !== undefined) lines.push(...await otherFindings(reader, workload));
  const { namespace } = selection;
  lines.push(...await leftOutLines(api, { settings, rule, workload, namespace }));
  lines.push("To see what becomes of a report: zen-watcher explain --source SOURCE -f REPORT --live");
  return lines;
}

async function otherPlaces({ api, selection, reading }: Reader, rule: string): Promise<string> {
  const places = new Set<string>();
  for await (const page of readObservations(api, { labels: selection.labels, rule }, reading)) {
    for (const row of page.map((each) => toRow(each))) {
      places.add(`${row.namespace}/${row.workload || resourceNameOf(row)}`);
    }
  }
  if (places.size === 0) return "  No other workload has it either.";
  const named = [...places].sort().slice(0, TOLD).join(", ");
  return `  It is found on ${plural(places.size, "other workload")}: ${named}${
    places.size > TOLD ? ", …" : ""
  }`;
}

async function otherFindings({ api, selection, reading }: Reader, workload: string): Promise<string[]> {
  const sources = new Map<string, { count: number; last: string }>();
  for await (const page of readObservations(api, { ...selection, workload }, reading)) {
    for (const { source, lastSeenAt } of page.map((each) => toRow(each))) {
      const known = sources.get(source) ?? { count: 0, last: "" };
      sources.set(source, {
        count: known.count + 1,
        last: lastSeenAt > known.last ? lastSeenAt : known.last,
      });
    }
  }
  if (sources.size === 0) {
    return ["  No source reports anything on this workload: its tool may not have scanned it yet."];
  }
  return [...sources].map(([source, { count, last }]) =>
    `  ${source} reports ${plural(count, "other finding")} on this workload, the latest seen at ${last}.`
  );
}

async function tell(
  { api, now }: Reader,
  observation: StoredObservation,
  settings: Settings,
): Promise<string[]> {
  const row = toRow(observation, { now });
  const { metadata, spec, status } = observation;
  return [
    `${row.name} in ${row.storedIn}: ${row.severity} ${row.rule || row.eventType} on ${
      resourceNameOf(row) || "no resource"
    }${row.namespace === row.storedIn ? "" : ` of ${row.namespace}`}`,
    `  ${row.message}`,
    `  Reported by ${row.source} as ${row.category}/${row.eventType}, a ${
      row.type || "finding"
    }; detected at ${spec.detectedAt ?? "an unknown time"}.`,
    `  First seen at ${row.firstSeenAt}, last at ${row.lastSeenAt}, ${plural(row.occurrences, "time")}.`,
    `  It is one with every report of the same identity: ${
      metadata.annotations?.[ANNOTATIONS.identity] ?? "(no annotation)"
    }`,
    `  Phase ${row.phase}${row.resolvedAt === "" ? "" : ` since ${row.resolvedAt}`}. ${endOf(observation)}`,
    ...(metadata.annotations?.[ANNOTATIONS.refusedByNamespace] === undefined
      ? []
      : [`  The namespace ${row.namespace} refused it or is gone, so that it is stored in ${row.storedIn}.`]),
    ...(status === undefined ? ["  Its status was never written."] : []),
    ...await acceptanceOf(api, observation, row),
    ...await filterVerdicts(api, { observation, settings }),
  ];
}

/** Which exception covers it, why and until when. */
async function acceptanceOf(
  api: KubeApi,
  { status }: StoredObservation,
  row: ObservationRow,
): Promise<string[]> {
  const { namespace, name } = status?.exception ?? {};
  if (row.exception === "" || namespace === undefined || name === undefined) return [];
  const until = row.phase === "Accepted"
    ? `until ${row.acceptedUntil}`
    : `until ${row.acceptedUntil}, which is over: the controller writes that it is Active`;
  const said = `  ObservationException ${row.exception} accepts it since ${row.acceptedSince} ${until}`;
  try {
    const { spec } = await api.get(OBSERVATION_EXCEPTIONS, name, { namespace });
    const { reason, justification, ticket } = isObject(spec) ? spec : {};
    return [`${said}.`, `    ${reason}: ${justification}${ticket === undefined ? "" : ` (${ticket})`}`];
  } catch (error) {
    if (hasStatus(error, 404)) return [`${said}, but is deleted: the finding becomes Active again.`];
    if (!hasStatus(error, 403)) throw error;
    return [`${said}.`, "    Why is not shown: you may not get observationexceptions.zen.kube-zen.io."];
  }
}

/** What ends it. */
function endOf({ metadata, spec, status }: StoredObservation): string {
  const created = parseTime(metadata.creationTimestamp ?? "")?.ms;
  const ttl = spec.ttlSecondsAfterCreation;
  const expiry = created === undefined || ttl === undefined
    ? "No time to live is set on it."
    : `It is deleted after ${
      new Date(created + ttl * 1_000).toISOString()
    }, unless it is still reported then.`;
  if (metadata.labels?.[LABELS.kind] === "occurrence") {
    return `An occurrence has no end but its age. ${expiry}`;
  }
  if (status?.phase === "Resolved") return `Its source no longer reports it. ${expiry}`;
  return `It ends when ${spec.source} no longer reports it. ${expiry}`;
}

interface FilterQuestion {
  readonly observation: StoredObservation;
  readonly settings: Settings;
}

/** What the filters in force would decide if it were reported now. */
async function filterVerdicts(api: KubeApi, { observation, settings }: FilterQuestion): Promise<string[]> {
  try {
    const namespace = observation.spec.resource?.namespace || settings.podNamespace;
    const { documents, unread } = await documentsInForce(api, { settings, namespace });
    const verdicts = compileFilters(documents).explain(eventOf(observation))
      .filter(({ verdict }) => verdict !== "not_applicable");
    if (verdicts.length === 0) {
      return ["  No filter of a ConfigMap or an ObservationFilter applies to it.", ...unread];
    }
    return [
      "  Filters in force, if it were reported now:",
      ...verdicts.map(({ document, verdict, detail }) => `    ${document}: ${verdict}: ${detail}`),
      ...unread,
    ];
  } catch (error) {
    return [`  ${unreadableFilters(error)}`];
  }
}
