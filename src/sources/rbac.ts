/**
 * The rights that zen-watcher needs, derived from the registry of sources: the one list behind the chart's RBAC,
 * `zen-watcher check --rbac` and the documentation. Pure.
 */
import type { ObjectReference } from "../kube/events.ts";
import { filterStatusName } from "../filters/filter_status.ts";
import { GROUP, PLURAL } from "../model/observation.ts";
import type { Access } from "../kube/access.ts";
import { SOURCES } from "./registry.ts";
import type { Setting, SettingValues } from "../text/setting.ts";
import type { Feed, Source } from "./source.ts";

/**
 * Where a rule is granted: for the whole cluster; in each watched namespace (in all, where there is no list); only to
 * the shard that takes what has no namespace; where ObservationFilters can lie; or in one namespace, that of the
 * controller, of the filter ConfigMap, or the one that a setting names.
 */
type Place =
  | "cluster"
  | "watched"
  | "clusterScoped"
  | "tenants"
  | "own"
  | "filters"
  | { readonly setting: Setting<string> };

/** The object that a rule is limited to, where its name is known before it exists. */
export type RuleName = "lease" | "filterConfigMap" | "filterStatus";

/** One rule of RBAC and the place it is for. No wildcards. */
export interface PlacedRule {
  readonly place: Place;
  readonly group: string;
  /** Plurals; `observations/status` for a subresource. */
  readonly resources: readonly string[];
  readonly name?: RuleName;
  readonly verbs: readonly string[];
  /** The part of the program that needs it, for readers: `source trivy`. */
  readonly by: string;
}

/** A rule as RBAC writes it, with the reason beside it. */
export interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly verbs: readonly string[];
  readonly by: string;
}

/** The rules of one namespace; of a ClusterRole where it is "". */
export interface Grant {
  readonly namespace: string;
  readonly rules: readonly Rule[];
}

/** What the resolution of places and names depends on: a part of the settings. */
export interface RuleSettings extends SettingValues {
  readonly podNamespace: string;
  readonly instance: string;
  readonly watchNamespaces: readonly string[];
  readonly watchClusterScoped: boolean | undefined;
  readonly filterConfigMapName: string;
  /** "": the controller's own. */
  readonly filterConfigMapNamespace: string;
}

const READ = ["get", "list", "watch"];
const CONFIGURATION = ["ingesters", "observationmappings"];
const FILTERS = "observationfilters";
const EXCEPTIONS = "observationexceptions";

const OWN_RULES: readonly PlacedRule[] = [
  // Every shard indexes the Observations of the whole cluster: dedup and the budget need them.
  {
    place: "cluster",
    group: GROUP,
    resources: [PLURAL],
    verbs: [...READ, "create", "patch", "delete"],
    by: "Observations",
  },
  { place: "cluster", group: GROUP, resources: [`${PLURAL}/status`], verbs: ["patch"], by: "Observations" },
  // In all namespaces: an Ingester in an untrusted namespace gets a condition that says so.
  { place: "cluster", group: GROUP, resources: CONFIGURATION, verbs: READ, by: "sources by configuration" },
  {
    place: "cluster",
    group: GROUP,
    resources: CONFIGURATION.map((plural) => `${plural}/status`),
    verbs: ["patch"],
    by: "sources by configuration",
  },
  { place: "cluster", group: GROUP, resources: [EXCEPTIONS], verbs: READ, by: "exceptions" },
  { place: "cluster", group: GROUP, resources: [`${EXCEPTIONS}/status`], verbs: ["patch"], by: "exceptions" },
  { place: "tenants", group: GROUP, resources: [FILTERS], verbs: READ, by: "filters" },
  { place: "tenants", group: GROUP, resources: [`${FILTERS}/status`], verbs: ["patch"], by: "filters" },
  {
    place: "filters",
    group: "",
    resources: ["configmaps"],
    name: "filterConfigMap",
    verbs: READ,
    by: "filters",
  },
  {
    place: "filters",
    group: "",
    resources: ["configmaps"],
    name: "filterStatus",
    verbs: ["get", "patch"],
    by: "filters",
  },
  // A create request has no resourceName to match, so `create` needs a rule without one.
  {
    place: "own",
    group: "coordination.k8s.io",
    resources: ["leases"],
    verbs: ["create"],
    by: "leader election",
  },
  {
    place: "own",
    group: "coordination.k8s.io",
    resources: ["leases"],
    name: "lease",
    verbs: [...READ, "update"],
    by: "leader election",
  },
  { place: "own", group: "", resources: ["events"], verbs: ["create", "patch"], by: "Events" },
  { place: "filters", group: "", resources: ["events"], verbs: ["create", "patch"], by: "Events" },
];

/** Every rule with its place: what the chart's templates are generated from. */
export function placedRules(sources: readonly Source[] = SOURCES): PlacedRule[] {
  return [...OWN_RULES, ...sources.flatMap(sourceRules)];
}

/** The rules a program of these settings needs, by namespace: the ClusterRole first. */
export function rbacRules(settings: RuleSettings, sources: readonly Source[] = SOURCES): Grant[] {
  const grants = new Map<string, Rule[]>([["", []]]);
  for (const placed of placedRules(sources)) {
    for (const namespace of namespacesOf(placed.place, settings)) {
      const rules = grants.get(namespace) ?? [];
      grants.set(namespace, rules);
      const rule = ruleOf(placed, settings);
      if (!rules.some((known) => isSame(known, rule))) rules.push(rule);
    }
  }
  return [...grants].map(([namespace, rules]) => ({ namespace, rules }));
}

/** Everything that the grants allow, one verb each, as an access review takes it. */
export function accessesOf(grants: readonly Grant[]): (Access & { readonly by: string })[] {
  return grants.flatMap(({ namespace, rules }) => rules.flatMap((rule) => accessesOfRule(rule, namespace)));
}

/** The lease's name in a shard set. */
export function leaseName(instance: string): string {
  return instance === "default" ? "zen-watcher-leader-election" : `zen-watcher-leader-election-${instance}`;
}

/** The shard's Lease, as Events name it. */
export function leaseReference(
  { instance, podNamespace }: { readonly instance: string; readonly podNamespace: string },
): ObjectReference {
  return {
    apiVersion: "coordination.k8s.io/v1",
    kind: "Lease",
    name: leaseName(instance),
    namespace: podNamespace,
  };
}

function sourceRules({ name, feeds }: Source): PlacedRule[] {
  return feeds.flatMap((feed) => feedRules(feed, `source ${name}`));
}

function feedRules(feed: Feed, by: string): PlacedRule[] {
  if (feed.type === "post") return [];
  if (feed.type === "configmap") {
    const { namespace: setting } = feed;
    if (typeof setting === "string") {
      throw new Error(
        `Cannot place the rule for ConfigMaps in "${setting}": no setting names the namespace (${by})`,
      );
    }
    return [{ place: { setting }, group: "", resources: ["configmaps"], verbs: READ, by }];
  }
  const groups = Map.groupBy(feed.resources, ({ group, namespaced }) => JSON.stringify([group, namespaced]));
  return [...groups.values()].map((types) => ({
    place: types[0]?.namespaced ? "watched" : "clusterScoped",
    group: types[0]?.group ?? "",
    // Versions of one resource need one rule.
    resources: [...new Set(types.map(({ plural }) => plural))],
    verbs: READ,
    by,
  }));
}

function namespacesOf(place: Place, settings: RuleSettings): readonly string[] {
  const { podNamespace, watchNamespaces, watchClusterScoped } = settings;
  if (typeof place !== "string") return [settings.of(place.setting)];
  switch (place) {
    case "cluster":
      return [""];
    case "watched":
      return watchNamespaces.length === 0 ? [""] : watchNamespaces;
    case "clusterScoped":
      return watchClusterScoped ?? watchNamespaces.length === 0 ? [""] : [];
    case "tenants":
      return watchNamespaces.length === 0 ? [""] : [...new Set([podNamespace, ...watchNamespaces])];
    case "own":
      return [podNamespace];
    case "filters":
      return [settings.filterConfigMapNamespace || podNamespace];
  }
}

function ruleOf({ group, resources, name, verbs, by }: PlacedRule, settings: RuleSettings): Rule {
  const names: Readonly<Record<RuleName, string>> = {
    lease: leaseName(settings.instance),
    filterConfigMap: settings.filterConfigMapName,
    filterStatus: filterStatusName(settings.instance),
  };
  return { apiGroups: [group], resources, ...(name && { resourceNames: [names[name]] }), verbs, by };
}

function isSame({ by: _a, ...a }: Rule, { by: _b, ...b }: Rule): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function accessesOfRule({ apiGroups, resources, resourceNames, verbs, by }: Rule, namespace: string) {
  return apiGroups.flatMap((group) =>
    resources.flatMap((path) => {
      const [resource = "", subresource] = path.split("/");
      const what = {
        group,
        resource,
        ...(subresource !== undefined && { subresource }),
        ...(namespace !== "" && { namespace }),
      };
      return (resourceNames ?? [undefined]).flatMap((name) =>
        verbs.map((verb) => ({ verb, ...what, ...(name !== undefined && { name }), by }))
      );
    })
  );
}
