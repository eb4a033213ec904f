/** Results kept in labelled ConfigMaps: a watch on `configmaps` of one namespace, of which one key is read. */
import type { PayloadError } from "../../model/outcome.ts";
import type { KubeObject, ResourceType } from "../../kube/api.ts";
import { bodyOf, readDocuments } from "../../text/documents.ts";
import { withoutLogLines } from "../results.ts";
import type { ReadDocument } from "./evaluator.ts";
import { originOf } from "./watch.ts";

/** What a ConfigMap feed watches. */
export const CONFIGMAPS: ResourceType = {
  group: "",
  version: "v1",
  plural: "configmaps",
  kind: "ConfigMap",
  namespaced: true,
};

export interface ConfigMapPayloadOptions {
  readonly key: string;
  readonly receivedAt: number;
  /** Told of a key that is missing or not JSON: counted, and no finding ends by it. */
  readonly onError: (error: PayloadError) => void;
}

/** Reads the payload of a ConfigMap; undefined where nothing in it can be read. */
export function configMapPayload(
  object: KubeObject,
  options: ConfigMapPayloadOptions,
): ReadDocument | undefined {
  const { key, receivedAt, onError } = options;
  const path = `data.${key}`;
  const data = object["data"];
  const text = typeof data === "object" && data !== null ? (data as Record<string, unknown>)[key] : undefined;
  if (typeof text !== "string") {
    onError({ reason: "missing_field", path, message: `the ConfigMap has no key "${key}"` });
    return undefined;
  }
  const documents = readDocuments(withoutLogLines(text));
  for (const error of documents.errors) onError({ ...error, path: `${path} ${error.path}` });
  const body = bodyOf(documents);
  if (body === undefined) {
    if (documents.errors.length === 0) onError({ reason: "unreadable", path, message: "the text is empty" });
    return undefined;
  }
  return {
    payload: { body, origin: originOf(object, { confined: false }), receivedAt },
    readable: documents.errors.length === 0,
  };
}
