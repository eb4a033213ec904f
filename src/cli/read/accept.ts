/** `accept`: writes an ObservationException, and shows first what it accepts. */
import { type Command, Option } from "commander";
import { EXCEPTION_REASONS, type ExceptionReason, OBSERVATION_EXCEPTIONS } from "../../exceptions/kind.ts";
import { hasStatus, type KubeObject, resourceName } from "../../kube/api.ts";
import { errorMessage } from "../../model/error_message.ts";
import { LABELS } from "../../model/observation.ts";
import { formatSeconds, parseTime, spanMs } from "../../model/time.ts";
import {
  type AcceptMatch,
  checkedException,
  type Decision,
  exceptionObject,
  matchOf,
  wouldAccept,
} from "../../read/accept.ts";
import { readObservation } from "../../read/observations.ts";
import { resourceNameOf, subjectNamespaceOf, toRow } from "../../read/row.ts";
import type { StoredObservation } from "../../store/observations.ts";
import { addCommand, type CommandContext, repeated, usage } from "../command.ts";
import { CommandError } from "../io.ts";
import { plural } from "../output/problems.ts";
import { createTable } from "../output/table.ts";
import { openReader, type Reader, type ReaderFlags, scopeFlags, severitiesOf } from "./reader.ts";

interface AcceptFlags extends Omit<ReaderFlags, "source"> {
  readonly rule?: readonly string[];
  readonly resource?: readonly string[];
  readonly workload?: readonly string[];
  readonly source?: readonly string[];
  readonly reason: ExceptionReason;
  readonly justification: string;
  readonly expires: string;
  readonly ticket?: string;
  readonly acceptedBy?: string;
  readonly onlyWhileNoFix?: boolean;
  readonly name?: string;
  readonly dryRun?: boolean;
}

/** Findings that are listed; of the others the number is said. */
const SHOWN = 20;

/** Adds the command `accept`. */
export function accept(program: Command, context: CommandContext): void {
  const command = addCommand(program, {
    name: "accept [observation]",
    summary: "accept findings for a time, with a reason",
    description:
      "Writes an ObservationException for one finding, by the name of its Observation, or for what selectors match in one " +
      "namespace, and shows what it accepts. Accepted findings stay stored; they are Active again when it expires.",
    examples: [
      [
        "accept trivy-4zt8hsz8yggbzz5sx7ph -n shop --reason mitigated --justification 'not reachable' --expires 30d",
        "one finding",
      ],
      [
        "accept --rule CVE-2024-3094 -n shop --reason fix_planned --justification 'next release' --expires 2027-01-31 --dry-run",
        "what it would accept, and the manifest",
      ],
      [
        "accept --rule CVE-2024-3094 --workload web -n shop --only-while-no-fix --reason accepted_risk --justification " +
        "'no fix yet' --expires 90d",
        "until a fix appears, or for 90 days",
      ],
    ],
    more: "It takes the right to create observationexceptions (ClusterRole zen-watcher-risk-owner).\n",
  });
  scopeFlags(command)
    .addOption(repeated("--rule <rule>", "the source's id of what was found; may be given again"))
    .addOption(repeated("--resource <kind/name>", "an affected resource; may be given again"))
    .addOption(repeated("--workload <workload>", "a workload; may be given again"))
    .addOption(repeated("--source <source>", "a source; may be given again"))
    .option("--severity <severity>", "severities: HIGH, CRITICAL,HIGH, or HIGH+ for HIGH and worse")
    .addOption(new Option("--reason <reason>", "why").choices(EXCEPTION_REASONS).makeOptionMandatory())
    .requiredOption("--justification <text>", "why, in words for an auditor")
    .requiredOption("--expires <time>", "until when: 90d, 2027-01-31, or RFC 3339")
    .option("--ticket <ticket>", "where the decision is recorded")
    .option("--accepted-by <name>", "who decided; the audit log tells who wrote it")
    .option("--only-while-no-fix", "only while no version that fixes it is known")
    .option("--name <name>", "name of the exception (default: made of the rule and the workload)")
    .option("--dry-run", "show what it would accept, and write nothing")
    .action(async (observation: string | undefined, flags: AcceptFlags) => {
      const selectors = selectorsOf(flags);
      if ((observation === undefined) === (selectors === undefined)) {
        throw usage("accept", "expected the name of an Observation, or --rule or --resource");
      }
      const { source: _, severity: _severity, ...scope } = flags;
      using reader = await openReader(scope, context);
      const expiresAt = expiresOf(flags.expires, reader.now);
      const { podNamespace, exceptionMaxDays: maxDays } = context.settings();
      const chosen = observation === undefined
        ? { match: selectors ?? {}, namespace: reader.selection.namespace }
        : await chosenBy(observation, reader, podNamespace);
      if (chosen.namespace === undefined) {
        throw usage("accept", "expected -n NAMESPACE: an exception acts in its own namespace");
      }
      const { reason, justification, ticket, acceptedBy, onlyWhileNoFix, name } = flags;
      const decision: Decision = {
        ...{ match: chosen.match, namespace: chosen.namespace },
        ...{ reason, justification, expiresAt, ticket, acceptedBy, onlyWhileNoFix, name },
      };
      await carryOut(decision, { reader, context, maxDays, dryRun: flags.dryRun === true });
      await context.finish(0);
    });
}

interface Carrying {
  readonly reader: Reader;
  readonly context: CommandContext;
  readonly maxDays: number;
  readonly dryRun: boolean;
}

async function carryOut(decision: Decision, { reader, context, maxDays, dryRun }: Carrying): Promise<void> {
  const { io } = context;
  const object = exceptionObject(decision);
  const { namespace = "", name = "" } = object.metadata;
  let exception;
  try {
    exception = checkedException(object, { maxDays, now: reader.now });
  } catch (error) {
    throw new CommandError(errorMessage(error));
  }
  const table = createTable(["SEVERITY", "RULE", "RESOURCE", "SOURCE", "MESSAGE"], reader.table);
  let count = 0;
  for await (const each of wouldAccept(reader.api, exception, { ...reader.reading, now: reader.now })) {
    if (++count > SHOWN) continue;
    const row = toRow(each, reader);
    table.add([row.severity, row.rule || row.eventType, resourceNameOf(row), row.source, row.message]);
  }
  if (count === 0) {
    throw new CommandError(
      `Cannot write exception "${namespace}/${name}": no Active finding of "${namespace}" matches it. Look with ` +
        `zen-watcher get -n ${namespace}, or apply a manifest to accept what is not found yet`,
    );
  }
  table.flush();
  if (count > SHOWN) io.stdout(`and ${count - SHOWN} more\n`);
  const findings = `${plural(count, "finding")} until ${formatSeconds(exception.expiresAt)}`;
  if (dryRun) {
    const { render } = await import("../output/structured.ts");
    io.stdout(`It would accept ${findings}; nothing is written:\n---\n${render(object, "yaml")}`);
    return;
  }
  await create(object, reader);
  io.stdout(
    `observationexception.zen.kube-zen.io/${name} created in "${namespace}": it accepts ${findings}\n`,
  );
}

async function create(object: KubeObject, { api }: Reader): Promise<void> {
  const { namespace = "", name = "" } = object.metadata;
  try {
    await api.create(OBSERVATION_EXCEPTIONS, object, { namespace });
  } catch (error) {
    throw new CommandError(`Cannot write exception "${namespace}/${name}": ${whyRefused(error, name)}`);
  }
}

function whyRefused(error: unknown, name: string): string {
  const resource = resourceName(OBSERVATION_EXCEPTIONS);
  if (hasStatus(error, 409)) {
    return `there is one of this name already. Choose another with --name, or edit ${name}`;
  }
  if (hasStatus(error, 404)) return `this cluster does not serve ${resource}. Upgrade zen-watcher in it`;
  // A policy says that it denied the request; what else is forbidden is a right that is missing.
  if (hasStatus(error, 403) && !/denied (the )?request/.test(error.message)) {
    return `you may not create ${resource}. Ask for the ClusterRole zen-watcher-risk-owner in its namespace`;
  }
  return errorMessage(error);
}

/** The match of the selectors; undefined where none names a rule or a resource. */
function selectorsOf(
  { rule, resource, workload, source, severity }: AcceptFlags,
): AcceptMatch | undefined {
  const others = {
    ...(workload && { workloads: workload }),
    ...(source && { sources: source }),
    ...(severity !== undefined && { severities: severitiesOf(severity) }),
  };
  if (!rule && !resource) {
    if (Object.keys(others).length === 0) return undefined;
    throw usage(
      "accept",
      "expected --rule or --resource beside the other selectors: they would match too much",
    );
  }
  const resources = resource?.map((text) => {
    const [, kind, name] = /^([^/]+)\/(.+)$/.exec(text) ?? [];
    if (kind === undefined || name === undefined) {
      throw usage("accept", `expected --resource to be like Deployment/web, received "${text}"`);
    }
    return { kind, name };
  });
  return { ...(rule && { rules: rule }), ...(resources && { resources }), ...others };
}

async function chosenBy(
  name: string,
  { api, selection }: Reader,
  podNamespace: string,
): Promise<{ readonly match: AcceptMatch; readonly namespace: string }> {
  const observation: StoredObservation | undefined = await readObservation(api, name, selection);
  const refuse = (why: string) => new CommandError(`Cannot accept "${name}": ${why}`);
  if (!observation) throw refuse("there is no such Observation. Look with zen-watcher get");
  if (observation.metadata.labels?.[LABELS.kind] !== "finding") {
    throw refuse("it is an occurrence, and an act cannot be accepted. Leave such acts out with a filter");
  }
  const match = matchOf(observation);
  if (!match) throw refuse("it has neither a rule nor a resource that an exception could name");
  const belongsTo = observation.spec.resource?.namespace === undefined
    ? podNamespace
    : subjectNamespaceOf(observation);
  return { match, namespace: belongsTo };
}

/** `90d` from now, a day in UTC, or RFC 3339; as RFC 3339. */
function expiresOf(text: string, now: number): string {
  const span = /^\d{1,5}[hdw]$/.test(text) ? spanMs(text) : undefined;
  if (span !== undefined) return formatSeconds(now + span);
  const time = parseTime(/^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T00:00:00Z` : text);
  if (!time) {
    throw usage("accept", `expected --expires to be like 90d, 2027-01-31 or RFC 3339, received "${text}"`);
  }
  if (time.ms <= now) throw usage("accept", `expected --expires to be a time to come, received "${text}"`);
  return formatSeconds(time.ms);
}
