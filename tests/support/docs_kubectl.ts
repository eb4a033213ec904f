/** kubectl commands as documentation shows them: is there such a resource? */
import { builtIns } from "../../src/devcluster/resources.ts";
import { SOURCES } from "../../src/sources/registry.ts";

/** Flags that take the next word as their value. */
const VALUED = new Set([
  "-n",
  "--namespace",
  "-l",
  "-o",
  "-f",
  "-c",
  "--field-selector",
  "--sort-by",
  "--kubeconfig",
  "--context",
  "--as",
]);
/** After these a resource, or TYPE/NAME, stands. */
const VERBS = new Set([
  "get",
  "delete",
  "label",
  "annotate",
  "describe",
  "patch",
  "explain",
  "create",
  "debug",
  "port-forward",
  "logs",
  "wait",
]);
/** Of Kubernetes and its usual companions, beyond what the development API server knows. */
const OTHERS = [
  "pod",
  "pods",
  "deployment",
  "service",
  "job",
  "networkpolicy",
  "clusterrole",
  "clusterrolebinding",
  "rolebinding",
  "*",
];
/** Verbs whose object is a Pod, or names its type before a slash. */
const BY_NAME = new Set(["debug", "port-forward", "logs"]);

const ours = [
  ["observations", "observation", "obs", "zenevents", "zen"],
  ["observationexceptions", "observationexception", "obsex"],
  ["observationfilters", "observationfilter"],
  ["observationexceptions", "observationexception", "obsex"],
  ["ingesters", "ingester"],
  ["observationmappings", "observationmapping"],
].flat();
const theirs = SOURCES.flatMap(({ feeds }) => feeds).flatMap((feed) =>
  feed.type === "watch" ? feed.resources.flatMap(({ plural, group }) => [plural, `${plural}.${group}`]) : []
);
const builtin = builtIns().flatMap((
  { plural, singular, shortNames, group },
) => [plural, singular, `${plural}.${group}`, ...shortNames]);
const known = new Set([
  ...ours,
  ...ours.map((name) => `${name}.zen.kube-zen.io`),
  ...theirs,
  ...builtin,
  ...OTHERS,
]);

/** What is wrong with a command, or undefined. */
export function kubectlProblem(command: string): string | undefined {
  const words = positionals(command);
  const [verb = "", second = "", third = ""] = words;
  if (verb === "auth" && second === "whoami") return undefined;
  if (verb === "auth") return second === "can-i" ? unknown(words[3] ?? "") : `no such verb: auth ${second}`;
  if (verb === "delete" && /\s(-f|--filename)\b/.test(command)) return undefined;
  if (verb === "rollout") return unknown(third.split("/")[0] ?? "");
  if (["apply", "version", "-h"].includes(verb)) return undefined;
  if (!VERBS.has(verb)) return `no such verb: ${verb}`;
  if (BY_NAME.has(verb) && !second.includes("/")) return undefined;
  return second.split(",").map((word) =>
    unknown((verb === "explain" ? word.split(".") : word.split("/"))[0] ?? "")
  )
    .find((problem) => problem !== undefined);
}

function unknown(resource: string): string | undefined {
  return known.has(resource.replaceAll("'", "").toLowerCase()) ? undefined : `no such resource: ${resource}`;
}

function positionals(command: string): string[] {
  const found: string[] = [];
  const words = command.split(/\s+/).slice(1);
  for (let index = 0; index < words.length; index++) {
    const word = words[index] ?? "";
    if (VALUED.has(word)) index++;
    else if (word === "--" || word === ">") break;
    else if (!word.startsWith("-")) found.push(word);
  }
  return found;
}
