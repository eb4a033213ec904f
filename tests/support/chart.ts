/** The chart as Helm renders it. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseAllDocuments } from "yaml";
import { ensureTool } from "../../scripts/tools.ts";
import { isObject, type Json, type JsonObject } from "../../src/model/json.ts";
import type { Credentials, RealCluster } from "./cluster.ts";

export const CHART = fileURLToPath(new URL("../../helm/zen-watcher/", import.meta.url));

export interface RenderOptions {
  readonly release?: string;
  readonly namespace?: string;
  /** Files of the chart's folder: `values-ha.yaml`. */
  readonly valuesFiles?: readonly string[];
  readonly values?: JsonObject;
  /** APIs that the cluster serves beside Kubernetes' own: `security.openshift.io/v1`. */
  readonly apiVersions?: readonly string[];
}

/** An object of a rendering. */
export interface Rendered extends JsonObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: JsonObject & { readonly name: string };
}

/** Every object of a rendering, hooks and tests too. Throws with Helm's words where it refuses. */
export async function renderChart(options: RenderOptions = {}): Promise<Rendered[]> {
  const text = await helm(["template", ...await placed(options)]);
  return parseAllDocuments(text).flatMap((document) => {
    // A key given twice is one, which Helm lets pass.
    if (document.errors[0]) throw document.errors[0];
    const object: unknown = document.toJS();
    return isRendered(object) ? [object] : [];
  });
}

/** What `helm template` and `helm install` take. A cluster of 1.34 where there is none to ask. */
async function placed(
  { release = "zen-watcher", namespace = "zen-system", valuesFiles = [], values = {}, apiVersions = [] }:
    RenderOptions,
): Promise<string[]> {
  const file = await Deno.makeTempFile({ prefix: "zen-values-", suffix: ".json" });
  await Deno.writeTextFile(file, JSON.stringify(values));
  return [
    release,
    CHART,
    "--namespace",
    namespace,
    "--kube-version=1.34.4",
    ...apiVersions.map((version) => `--api-versions=${version}`),
    ...valuesFiles.flatMap((name) => ["--values", join(CHART, name)]),
    "--values",
    file,
  ];
}

/** Runs Helm; throws with what it says where it fails. */
export async function helm(
  args: readonly string[],
  { env = {} }: { readonly env?: Record<string, string> } = {},
): Promise<string> {
  const output = await new Deno.Command(await ensureTool("helm"), { args: [...args], env, stdin: "null" })
    .output();
  const decoder = new TextDecoder();
  const values = args.find((arg) => arg.includes("zen-values-"));
  if (values !== undefined) await Deno.remove(values);
  if (!output.success) {
    throw new Error(`Cannot run "helm ${args.join(" ")}": ${decoder.decode(output.stderr).trim()}`);
  }
  return decoder.decode(output.stdout);
}

/** The one object of a kind, or of a kind and name. */
export function one(objects: readonly Rendered[], kind: string, name?: string): Rendered {
  const found = objects.filter((each) =>
    each.kind === kind && (name === undefined || each.metadata.name === name)
  );
  const [first] = found;
  if (first === undefined || found.length > 1) {
    throw new Error(`Cannot find the one ${kind} ${name ?? ""}: there are ${found.length}`);
  }
  return first;
}

/** A value somewhere inside. */
export function valueIn(value: Json | undefined, ...path: readonly (string | number)[]): Json | undefined {
  return path.reduce<Json | undefined>((current, step) => {
    if (Array.isArray(current)) return current[Number(step)];
    return isObject(current) && Object.hasOwn(current, step) ? current[step] : undefined;
  }, value);
}

/** Plain environment variables of a rendering's Deployment, as the program would read them. */
export function environmentOf(objects: readonly Rendered[]): Record<string, string> {
  const list = valueIn(one(objects, "Deployment"), "spec", "template", "spec", "containers", 0, "env");
  const namespace = valueIn(one(objects, "Deployment"), "metadata", "namespace");
  const env: Record<string, string> = {};
  for (const variable of Array.isArray(list) ? list : []) {
    if (!isObject(variable)) continue;
    if (typeof variable.value === "string") env[String(variable.name)] = variable.value;
    else if (valueIn(variable, "valueFrom", "fieldRef", "fieldPath") === "metadata.namespace") {
      env[String(variable.name)] = String(namespace);
    }
  }
  return env;
}

export interface ApplyOptions {
  readonly as?: Credentials;
  readonly dryRun?: boolean;
}

/** Applies an object server-side, as `kubectl apply --server-side` does; throws where it is refused, returns the warnings. */
export async function applyObject(
  cluster: RealCluster,
  object: Rendered,
  { as, dryRun = false }: ApplyOptions = {},
): Promise<readonly string[]> {
  const path = await pathOf(cluster, object);
  const query = `fieldManager=test&force=true&fieldValidation=Strict${dryRun ? "&dryRun=All" : ""}`;
  const { warnings } = await cluster.expect("PATCH", `${path}?${query}`, {
    body: object,
    contentType: "application/apply-patch+yaml",
    ...(as && { as }),
  });
  return warnings;
}

/** The path of an object at the API server, by discovery. */
export async function pathOf(
  cluster: RealCluster,
  { apiVersion, kind, metadata }: Rendered,
): Promise<string> {
  const group = apiVersion.includes("/") ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  const { body } = await cluster.expect("GET", group);
  const found = (Array.isArray(body.resources) ? body.resources : []).filter(isObject)
    .find((resource) => resource.kind === kind && !String(resource.name).includes("/"));
  if (!found) throw new Error(`Cannot find the resource of ${apiVersion} ${kind}: it is not served`);
  const scope = found.namespaced === true ? `/namespaces/${metadata.namespace}` : "";
  return `${group}${scope}/${found.name}/${metadata.name}`;
}

function isRendered(value: unknown): value is Rendered {
  return isObject(value) && typeof value.apiVersion === "string" && typeof value.kind === "string" &&
    isObject(value.metadata) && typeof value.metadata.name === "string";
}
