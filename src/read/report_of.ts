/** Finds the report that an Observation was made of, among those that are there now. */
import { CONFIG_MAPS } from "../kube/core_resources.ts";
import { type KubeObject, namespacedName } from "../kube/api.ts";
import type { DrawContext, DrawnEvent, Payload } from "../model/event.ts";
import type { Json } from "../model/json.ts";
import { ANNOTATIONS, LIMITS, type Observation } from "../model/observation.ts";
import { type EventSettings, normalize } from "../pipeline/normalize.ts";
import { storedResults } from "../sources/config_maps.ts";
import { createDrawContext } from "../sources/draw_context.ts";
import { REPORT_ENGINES } from "../sources/kyverno/mod.ts";
import { objectPayload, originOf } from "../sources/feeds/pulled.ts";
import type { Source } from "../sources/source.ts";
import { clean } from "../text/clean.ts";
import type { SettingValues } from "../text/setting.ts";
import type { ReadApi } from "./pages.ts";
import {
  madeAt,
  placeName,
  placeRight,
  readReports,
  reportingSource,
  type ReportPlace,
  reportPlaces,
  type ReportsOptions,
} from "./reports.ts";

/** A report, or why there is none to be shown. */
export type ReportOf =
  | {
    readonly state: "found";
    readonly resource: string;
    /** `namespace/name`. */
    readonly name: string;
    readonly madeAt: string;
  }
  /** No report that is there names the finding. */
  | { readonly state: "none" }
  /** Reports that could name it cannot be read. */
  | { readonly state: "forbidden"; readonly missing: readonly string[] };

interface ReportOfOptions extends ReportsOptions {
  readonly settings: EventSettings & SettingValues;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/** Reads the reports that can name a finding until one does: the events drawn from it have the finding's fingerprint. */
export async function findReport(
  api: ReadApi,
  observation: Observation,
  { settings, now, ...reading }: ReportOfOptions,
): Promise<ReportOf> {
  const { spec: { source: name, rule = "" }, metadata } = observation;
  const source = reportingSource(name);
  if (!source) return { state: "none" };
  const observed = { ownUser: "", isOwnRequest: () => false, isApiServerStarting: () => false };
  const context = createDrawContext(settings, observed);
  // The controller's REPORT_ENGINES may be others than this program's: they made the finding one of this source.
  const engines = [...context.setting(REPORT_ENGINES), name].join(",");
  const drawing: DrawContext = {
    ...context,
    setting: (declared) =>
      declared.env === REPORT_ENGINES.env ? declared.parse(engines) : context.setting(declared),
  };
  const fingerprint = metadata.annotations?.[ANNOTATIONS.fingerprint];
  const missing: string[] = [];
  for (const place of placesOf(observation, { source, settings })) {
    const { feed } = place;
    let found: KubeObject | undefined;
    const take = (object: KubeObject) => {
      const payload = payloadOf(place, { object, now });
      for (const drawn of source.draw(payload, drawing)) {
        if (!("event" in drawn) || !isOfRule(drawn.event, rule)) continue;
        const event = normalize(drawn.event, payload, { source, feed, settings });
        if (event.fingerprint !== fingerprint) continue;
        found = object;
        return true;
      }
    };
    const state = await readReports(api, place, { ...reading, take });
    if (found) {
      const resource = placeName(place);
      return { state: "found", resource, name: namespacedName(found), madeAt: madeAt(found) };
    }
    if (state === "forbidden") missing.push(placeRight(place));
  }
  return missing.length > 0 ? { state: "forbidden", missing } : { state: "none" };
}

/** The reports that can name a finding: those of its event type, and of a namespaced resource those of its namespace. */
function placesOf(
  { spec: { resource, eventType } }: Observation,
  { source, settings }: { readonly source: Source; readonly settings: SettingValues },
): ReportPlace[] {
  const namespace = resource?.namespace;
  return reportPlaces(source, { settings }).flatMap((place) => {
    const [{ eventTypes, namespaced }] = place.versions;
    if (eventTypes !== undefined && !eventTypes.includes(eventType)) return [];
    if (place.namespace !== undefined) return [place];
    if (namespaced) return namespace === undefined ? [] : [{ ...place, namespace }];
    // A policy report of the cluster names resources of any namespace.
    return namespace === undefined || source.reportsForOthers ? [place] : [];
  });
}

/** The payload that the controller reads of an object; items of a list have no kind of their own. */
function payloadOf(
  { versions: [type] }: ReportPlace,
  { object, now }: { readonly object: KubeObject; readonly now: number },
): Payload {
  if (type !== CONFIG_MAPS) {
    return objectPayload({ apiVersion: `${type.group}/${type.version}`, ...object, kind: type.kind }, now);
  }
  const body = storedResults(object as unknown as Json) ?? [];
  return { body, origin: originOf(object, { confined: false }), receivedAt: now };
}

/** Skips most events before they are normalised. */
function isOfRule({ rule, rules }: DrawnEvent, wanted: string): boolean {
  return wanted === "" || [rule, ...rules].some((each) => clean(String(each), LIMITS.rule) === wanted);
}
