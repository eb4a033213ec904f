/** `why`: what decided about an Observation, or about one that is not there. */
import type { Command } from "commander";
import { compileFilters, type DocumentVerdict } from "../../filters/filter.ts";
import { ANNOTATIONS } from "../../model/observation.ts";
import type { Lifetime } from "../../read/lifetime.ts";
import {
  type NamingException,
  type NamingExceptions,
  readNamingExceptions,
} from "../../read/naming_exceptions.ts";
import { readObservation, readObservations } from "../../read/observations.ts";
import type { ReportOf } from "../../read/report_of.ts";
import { reportingSource } from "../../read/reports.ts";
import { type ObservationRow, resourceNameOf, toRow } from "../../read/row.ts";
import type { Settings } from "../../settings.ts";
import { BUILT_IN } from "../../sources/registry.ts";
import { watchedResources } from "../../sources/source.ts";
import type { StoredObservation } from "../../store/observations.ts";
import { addCommand, type CommandContext, type Format, outputFlag, usage } from "../command.ts";
import { plural } from "../output/problems.ts";
import { eventOf } from "./event_of.ts";
import { type ConfigInForce, configInForce, leftOutLines, unreadableFilters } from "./left_out.ts";
import { openReader, progressOf, type Reader, type ReaderFlags, readerFlags } from "./reader.ts";

interface WhyFlags extends ReaderFlags {
  readonly rule?: string;
  readonly workload?: string;
  readonly output?: Format;
}

/** Most Observations that are shown in full if several match. */
const TOLD = 5;

/** Adds the command `why`. */
export function why(program: Command, context: CommandContext): void {
  const command = addCommand(program, {
    name: "why [observation]",
    summary: "tell why an Observation is there, or why one is not",
    description:
      "Tells what was seen and when, which report says so, what filters and exceptions say of it, and what ends it. With " +
      "--rule and --workload it tells why there is no such Observation, where there is none: what filters and the storage " +
      "budget left out, and what the filters in force say.",
    examples: [
      ["why trivy-4zt8hsz8yggbzz5sx7ph -n shop", "one Observation"],
      ["why --rule CVE-2024-3094 --workload web -n shop", "whether it is there, and why not"],
    ],
    more:
      "To find its report takes the right to list the reports of its source. What filters say takes the right to read them: " +
      "get the ConfigMaps zen-watcher-filter and zen-watcher-filter-status, list observationfilters, ingesters and " +
      "observationmappings in the controller's namespace (POD_NAMESPACE, default zen-system). When it is deleted is computed " +
      "with the settings of this command: set those that the controller has other values of, such as RESOLVED_TTL_SECONDS.\n",
  });
  outputFlag(readerFlags(command))
    .option("--rule <rule>", "the source's id of what was found")
    .option("--workload <workload>", "the workload it was found on")
    .action(async (name: string | undefined, flags: WhyFlags) => {
      if ((name === undefined) === (flags.rule === undefined)) {
        throw usage("why", "expected the name of an Observation, or --rule");
      }
      using reader = await openReader(flags, context);
      const teller = { reader, settings: context.settings(), context };
      const answer = name === undefined
        ? await tellRule(teller, { rule: flags.rule ?? "", workload: flags.workload })
        : await tellName(teller, name);
      if (flags.output) {
        const { render } = await import("../output/structured.ts");
        context.io.stdout(render(answer, flags.output));
      } else {
        const told = answer.observations.map((each) => `${linesOf(each).join("\n")}\n`).join("\n");
        const said = answer.said.map((line) => `${line}\n`).join("");
        context.io.stdout([told, said].filter((part) => part !== "").join("\n"));
      }
      await context.finish(0);
    });
}

/** The answer: Observations that are there, and sentences on why there is none or how to see the others. */
interface WhyAnswer {
  readonly observations: readonly Told[];
  readonly said: readonly string[];
}

interface Teller {
  readonly reader: Reader;
  readonly settings: Settings;
  readonly context: CommandContext;
}

async function tellName(teller: Teller, name: string): Promise<WhyAnswer> {
  const { api, selection, reading } = teller.reader;
  const observation = await readObservation(api, name, { ...reading, ...selection });
  if (observation) return { observations: await tell(teller, [observation]), said: [] };
  const where = selection.namespace === undefined
    ? "any namespace"
    : `the namespace "${selection.namespace}"`;
  return {
    observations: [],
    said: [
      `There is no Observation "${name}" in ${where}.`,
      "It was never stored, or it expired: Resolved and old ones are deleted.",
    ],
  };
}

interface RuleQuestion {
  readonly rule: string;
  readonly workload: string | undefined;
}

async function tellRule(teller: Teller, { rule, workload }: RuleQuestion): Promise<WhyAnswer> {
  const { reader, settings } = teller;
  const { api, selection, reading } = reader;
  const found: StoredObservation[] = [];
  for await (const page of readObservations(api, { ...selection, rule, workload }, reading)) {
    found.push(...page);
  }
  if (found.length > 0) {
    const more = found.length - TOLD;
    return {
      observations: await tell(teller, found.slice(0, TOLD)),
      said: more > 0 ? [`${more} more: zen-watcher rule ${rule} --all`] : [],
    };
  }
  const target = workload === undefined ? "" : ` on the workload "${workload}"`;
  const where = selection.namespace === undefined ? "" : ` in "${selection.namespace}"`;
  const { namespace } = selection;
  return {
    observations: [],
    said: [
      `No Observation has the rule "${rule}"${target}${where}.`,
      await otherPlaces(reader, rule),
      ...(workload === undefined ? [] : await otherFindings(reader, workload)),
      ...await leftOutLines(api, { settings, rule, workload, namespace }),
      "To see what becomes of a report: zen-watcher explain --source SOURCE -f REPORT --live",
    ],
  };
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

/** Everything that `why` tells of one Observation. */
interface Told {
  readonly row: ObservationRow;
  readonly detectedAt: string;
  /** The words of its identity. */
  readonly identity: string;
  /** The report that names it, or why none is shown. */
  readonly report: ReportOf | { readonly state: Exclude<Way, "report"> };
  readonly end: End;
  readonly exceptions: readonly NamingException[];
  /** What the filters in force say of it; undefined where they cannot be read. */
  readonly filters: readonly Pick<DocumentVerdict, "document" | "verdict" | "detail">[] | undefined;
  /** What else is to be known, and what could not be read. */
  readonly notes: readonly string[];
}

/** How an Observation ends: its lifetime, and a sentence that says so. */
interface End extends Lifetime {
  readonly said: string;
}

async function tell(teller: Teller, observations: readonly StoredObservation[]): Promise<Told[]> {
  const told: Told[] = [];
  const known = new Map<string, Configured>();
  const { reader: { api, now }, settings } = teller;
  const naming = readNamingExceptions(api, { settings, now });
  for (const each of observations) {
    const namespace = each.spec.resource?.namespace || settings.podNamespace;
    const configured = known.get(namespace) ?? await configuredFor(namespace, teller);
    known.set(namespace, configured);
    told.push(await tellOne(teller, each, { ...configured, naming: await naming(each) }));
  }
  return told;
}

/** The configuration that decides about a namespace's findings. */
interface Configured {
  /** Undefined where it cannot be read. */
  readonly config: ConfigInForce | undefined;
  readonly unread: readonly string[];
}

async function configuredFor(
  namespace: string,
  { reader: { api }, settings }: Teller,
): Promise<Configured> {
  try {
    const config = await configInForce(api, { settings, namespace });
    return { config, unread: config.unread };
  } catch (error) {
    return { config: undefined, unread: [unreadableFilters(error)] };
  }
}

async function tellOne(
  { reader: { api, now }, settings, context: { io } }: Teller,
  observation: StoredObservation,
  { config, unread, naming }: Configured & { readonly naming: NamingExceptions },
): Promise<Told> {
  const row = toRow(observation, { now });
  const { metadata: { annotations = {} }, spec, status } = observation;
  const notes = [
    ...(annotations[ANNOTATIONS.refusedByNamespace] === undefined
      ? []
      : [`The namespace ${row.namespace} refused it or is gone, so that it is stored in ${row.storedIn}.`]),
    ...(status === undefined ? ["Its status was never written."] : []),
  ];
  const way = wayOf(observation, config);
  const [{ findReport }, { lifetimeOf }] = await Promise.all([
    import("../../read/report_of.ts"),
    import("../../read/lifetime.ts"),
  ]);
  const report = way === "report"
    ? await findReport(api, observation, { settings, now, onPage: progressOf(io, "reports") })
    : { state: way };
  return {
    row,
    detectedAt: spec.detectedAt ?? "",
    identity: annotations[ANNOTATIONS.identity] ?? "",
    report,
    end: endOf(observation, {
      way,
      row,
      settings,
      lifetime: lifetimeOf(observation, { isPushed: isPushed(way), settings, now }),
    }),
    exceptions: naming.exceptions,
    filters: config && verdictsOf(observation, config),
    notes: [...notes, ...naming.notes, ...unread],
  };
}

/** What the filters in force would decide if it were reported now. */
function verdictsOf(observation: StoredObservation, { documents }: ConfigInForce): Told["filters"] {
  return compileFilters(documents).explain(eventOf(observation))
    .filter(({ verdict }) => verdict !== "not_applicable")
    .map(({ document, verdict, detail }) => ({ document, verdict, detail }));
}

/** How it came: in a report of its source, in an object that an Ingester maps, or pushed by a webhook. */
type Way = "report" | "mapped" | "pushed" | "unknown";

function wayOf(
  { metadata, spec: { source } }: StoredObservation,
  config: ConfigInForce | undefined,
): Way {
  if (metadata.annotations?.[ANNOTATIONS.pushedThrough] !== undefined) return "pushed";
  const inputs = config?.inputs.get(source);
  if (inputs) return inputs.has("informer") || inputs.has("configmap") ? "mapped" : "pushed";
  const isKnown = config !== undefined && config.unread.length === 0;
  if (!isKnown && !BUILT_IN.has(source)) return "unknown";
  return reportingSource(source)?.feeds.some(({ type }) => type !== "post") ? "report" : "pushed";
}

/** True where no report is watched that could say that it is there or gone. */
function isPushed(way: Way): boolean {
  return way === "pushed" || way === "unknown";
}

interface EndOptions {
  readonly way: Way;
  readonly row: ObservationRow;
  readonly settings: Settings;
  readonly lifetime: Lifetime;
}

/** How it ends. */
function endOf({ spec, status }: StoredObservation, { way, row, settings, lifetime }: EndOptions): End {
  const { source, eventType } = spec;
  const { setting, seconds, deletedAfter } = lifetime;
  const by = `${setting}=${seconds}`;
  const is = (text: string): End => ({ ...lifetime, said: text });
  if (row.type === "occurrence") {
    return is(`An occurrence has no end but its age. It is deleted after ${deletedAfter} (${by}).`);
  }
  if (status?.phase === "Resolved") {
    return is(
      `Its source no longer reports it. It is deleted after ${deletedAfter} (${by} since it was resolved), ` +
        "unless it is reported again; the storage budget evicts Resolved ones first.",
    );
  }
  if (way === "unknown") {
    return is(
      `It ends when ${source} no longer reports it; where it is pushed, it is deleted after ${deletedAfter} ` +
        `(${by} since it was last seen).`,
    );
  }
  if (isPushed(way)) {
    return is(
      `It ends when its tool says so, or it is deleted after ${deletedAfter} (${by} since it was last seen): ` +
        "each repeat moves that.",
    );
  }
  const from = reportingSource(source);
  const expires = from && watchedResources(from)
    .some((type) => type.expires === true && type.eventTypes?.includes(eventType));
  const longer = expires
    ? `, or for EXPIRED_GRACE_SECONDS=${settings.expiredGraceSeconds} where its report was deleted for its age`
    : "";
  return is(
    `It is Resolved when ${source} has not reported it for RESOLVE_GRACE_SECONDS=${settings.resolveGraceSeconds}${longer}, ` +
      `and deleted ${by} later; while it is reported it is not deleted.`,
  );
}

function linesOf({ row, detectedAt, identity, report, end, exceptions, filters, notes }: Told): string[] {
  const resource = resourceNameOf(row) || "no resource";
  const of = row.namespace === row.storedIn ? "" : ` of ${row.namespace}`;
  const since = row.resolvedAt === "" ? "" : ` since ${row.resolvedAt}`;
  const why = row.resolvedReason === "" ? "" : ` (${row.resolvedReason})`;
  const reopened = row.reopenedAt === "" ? "" : `, reported again at ${row.reopenedAt}`;
  return [
    `${row.name} in ${row.storedIn}: ${row.severity} ${row.rule || row.eventType} on ${resource}${of}`,
    `  ${row.message}`,
    `  Reported by ${row.source} as ${row.category}/${row.eventType}, a ${
      row.type || "finding"
    }; detected at ${detectedAt || "an unknown time"}.`,
    `  ${reportText(report, row)}`,
    `  First seen at ${row.firstSeenAt}, last at ${row.lastSeenAt}, ${
      plural(row.occurrences, "time")
    }${reopened}.`,
    `  It is one with every report of the same identity: ${identity || "(no annotation)"}`,
    `  Phase ${row.phase}${since}${why}. ${end.said}`,
    ...exceptions.flatMap((exception) => exceptionLines(exception, row)),
    ...filterLines(filters),
    ...notes.map((note) => `  ${note}`),
  ];
}

function reportText(report: Told["report"], { source }: ObservationRow): string {
  switch (report.state) {
    case "found":
      return `Its report is ${report.resource} ${report.name}, made at ${report.madeAt}.`;
    case "none":
      return `No report of ${source} that is there now names it.`;
    case "forbidden":
      return `Its report is not looked for: you may not ${report.missing.join(", nor ")}.`;
    case "pushed":
      return "It was sent to a webhook, so that no report is kept.";
    case "unknown":
      return "Whether a report or a webhook brings it is not known: Ingesters cannot be read.";
    case "mapped":
      return "It comes from an object that an Ingester or ObservationMapping reads.";
  }
}

function exceptionLines(exception: NamingException, { phase }: ObservationRow): string[] {
  const { name, state, since, until, message, reason, justification, ticket, acceptedBy } = exception;
  const accepts = `  ObservationException ${name} accepts it since ${since} until ${until}`;
  const by = [ticket, acceptedBy && `accepted by ${acceptedBy}`].filter((part) => part !== "").join(", ");
  const why = reason === "" ? [] : [`    ${reason}: ${justification}${by && ` (${by})`}`];
  const names = `  ObservationException ${name} names it`;
  switch (state) {
    case "accepts":
      return [`${accepts}.`, ...(message === "" ? why : [`    ${message}`])];
    case "deleted":
      return [`${accepts}, but is deleted: the finding becomes Active again.`];
    case "expired":
      return since === ""
        ? [`${names}, but expired at ${until}.`]
        : [`${accepts}, which is over: the controller writes that it is Active.`, ...why];
    case "not_ready":
      return [`${names}, but accepts nothing: ${message}`, ...why];
    case "pending": {
      const told = phase === "Accepted" ? " too" : ": the controller has not written that yet";
      return [`  ObservationException ${name} covers it${told}.`, ...why];
    }
  }
}

function filterLines(verdicts: Told["filters"]): string[] {
  if (!verdicts) return [];
  if (verdicts.length === 0) return ["  No filter of a ConfigMap or an ObservationFilter applies to it."];
  return [
    "  Filters in force, if it were reported now:",
    ...verdicts.map(({ document, verdict, detail }) => `    ${document}: ${verdict}: ${detail}`),
  ];
}
