/** Why an event of a rule may not be stored: what filters and the budget left out, and what the filters in force say of it. */
import { compileChecks, toSubject } from "../../filters/checks.ts";
import type { FilterDocument } from "../../filters/filter.ts";
import { hasStatus, type KubeApi } from "../../kube/api.ts";
import { compileMapped, type MappedInput } from "../../mapped/compile.ts";
import { errorMessage } from "../../model/error_message.ts";
import { workloadOf } from "../../model/identity.ts";
import { FILTER_REASON_MEANINGS } from "../../model/outcome.ts";
import { BUDGET_DOCUMENT, readDropped } from "../../read/drops.ts";
import type { Drop } from "../../filters/drops.ts";
import type { Settings } from "../../settings.ts";
import { type LiveConfigOptions, readLiveConfig } from "../operate/live_config.ts";
import { placesOf } from "./dropped.ts";
import { eventOfRule } from "./event_of.ts";

/** The finding that is looked for. */
export interface Wanted {
  readonly rule: string;
  readonly workload: string | undefined;
  /** The namespace that the finding belongs to; undefined: any. */
  readonly namespace: string | undefined;
}

interface Question extends Wanted {
  readonly settings: Settings;
}

/** The answer, a sentence a line. */
export async function leftOutLines(api: KubeApi, question: Question): Promise<string[]> {
  // Both may lack the same right.
  return [...new Set([...await dropLines(api, question), ...await filterLines(api, question)])];
}

/** The lines for events that the filters' statuses show as dropped. */
async function dropLines(api: KubeApi, { settings, ...wanted }: Question): Promise<string[]> {
  const { namespace } = wanted;
  const { documents, missing } = await readDropped(api, { namespace, places: placesOf(settings) });
  const lines = documents.flatMap(({ document, mode, lastDrops }) =>
    lastDrops.filter((drop) => isWanted(drop, wanted)).map((drop) => {
      const what = `${drop.rule ?? ""} on ${drop.resource ?? "no resource"}${
        drop.namespace === undefined ? "" : ` of ${drop.namespace}`
      }`;
      const did = mode === "Shadow" ? "would leave out (mode Shadow)" : "left out";
      const who = document === BUDGET_DOCUMENT ? "the storage budget" : document;
      return `  At ${drop.time} ${who} ${did} ${what}, ${drop.severity} from ${drop.source}: ${
        meaningOf(drop)
      }.`;
    })
  );
  const unread = missing.map((what) => `  Not looked at: ${what}.`);
  return lines.length > 0
    ? [...lines, ...unread]
    : ["  It is not among the last events that a filter or the storage budget left out.", ...unread];
}

function isWanted(drop: Drop, { rule, workload, namespace }: Wanted): boolean {
  const dropped = (drop.rule ?? "").toLowerCase();
  const asked = rule.toLowerCase();
  if (dropped !== asked && !dropped.startsWith(`${asked}/`)) return false;
  if (namespace !== undefined && drop.namespace !== namespace) return false;
  if (workload === undefined) return true;
  const [kind = "", name = ""] = (drop.resource ?? "").split("/");
  return name === workload || workloadOf({ kind, name }) === workload;
}

function meaningOf({ reason }: Drop): string {
  const meanings: Readonly<Record<string, string>> = FILTER_REASON_MEANINGS;
  return (meanings[reason] ?? reason).replaceAll("`", "");
}

/** Dimensions that the rule and its namespace decide. */
const KNOWN = ["enabled", "rules"];

/** What the filters in force say, as far as the rule and its namespace decide it; or which right is missing. */
async function filterLines(api: KubeApi, { settings, rule, namespace }: Question): Promise<string[]> {
  let documents: readonly FilterDocument[];
  let unread: readonly string[];
  try {
    const config = await configInForce(api, { settings, namespace });
    documents = config.documents;
    unread = config.unread.map((line) => `  ${line}`);
  } catch (error) {
    return [`  ${unreadableFilters(error)}`];
  }
  const applying = documents.filter(({ tenantNamespace }) =>
    tenantNamespace === undefined || namespace === undefined || tenantNamespace === namespace
  );
  if (applying.length === 0) {
    return ["  No filter of a ConfigMap or an ObservationFilter is in force.", ...unread];
  }
  const subject = toSubject(eventOfRule(rule, namespace));
  const certain: string[] = [];
  const possible: string[] = [];
  for (const { name, source, block } of applying) {
    const checks = compileChecks(block);
    const isKnown = (dimension: string) =>
      KNOWN.includes(dimension) || (dimension === "namespaces" && namespace !== undefined);
    const drop = checks.find((check) => isKnown(check.dimension) && check.decide(subject) !== undefined);
    const ofSource = source === "*" ? "" : ` of what ${source} reports`;
    if (drop) {
      const would = block.mode === "Shadow" ? "would leave it out" : "leaves it out";
      certain.push(`  ${name} ${would}${ofSource}: ${drop.describe(subject)}.`);
      continue;
    }
    const open = checks.map(({ dimension }) => dimension).filter((dimension) => !isKnown(dimension));
    if (open.length > 0) possible.push(`    ${name}: by ${open.join(", ")}`);
  }
  if (certain.length + possible.length === 0) return ["  No filter in force leaves it out.", ...unread];
  const may = possible.length > 0 ? ["  Filters in force may leave it out:", ...possible] : [];
  return [...certain, ...may, ...unread];
}

/** The configuration in force, as far as it decides about events. */
export interface ConfigInForce {
  /** Filters of the ConfigMap, of ObservationFilters and of Ingesters. */
  readonly documents: readonly FilterDocument[];
  /** How payloads of each mapped source arrive. */
  readonly inputs: ReadonlyMap<string, ReadonlySet<MappedInput["type"]>>;
  /** A sentence for each right that the user lacks to read more. */
  readonly unread: readonly string[];
}

/** Reads the configuration in force. */
export async function configInForce(api: KubeApi, options: LiveConfigOptions): Promise<ConfigInForce> {
  const { filters, mapped, missing } = await readLiveConfig(api, options);
  const documents = [...filters];
  const inputs = new Map<string, Set<MappedInput["type"]>>();
  for (const object of mapped) {
    const compiled = compileMapped(object);
    if (!compiled.ok) continue;
    const { source, input, filters: block, mapping } = compiled.value;
    if (mapping) inputs.set(source, (inputs.get(source) ?? new Set()).add(input.type));
    const id = `Ingester ${object.metadata.namespace}/${object.metadata.name}`;
    if (block) {
      documents.push({ name: `${id} spec.filters`, source, block, ...(mapping ? {} : { door: id }) });
    }
  }
  return { documents, inputs, unread: missing.map((what) => `Not looked at: ${what}.`) };
}

/** Why filters cannot be read, with the right that is missing. */
export function unreadableFilters(error: unknown): string {
  if (!hasStatus(error, 403)) return `Filters cannot be read: ${errorMessage(error)}`;
  return `Filters cannot be read: you may not. Missing right: ${error.body.message ?? errorMessage(error)}`;
}
