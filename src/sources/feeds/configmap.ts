/** Results kept in labelled ConfigMaps: an informer on `configmaps` of one namespace, reading one key. */
import type { PayloadError } from "../../model/outcome.ts";
import type { Payload } from "../../model/event.ts";
import type { KubeObject, ResourceType } from "../../kube/api.ts";
import { originOf } from "../active.ts";
import { bodyOf, readDocuments } from "../../text/documents.ts";
import { withoutLogLines } from "../results.ts";

export const CONFIGMAPS: ResourceType = {
  group: "",
  version: "v1",
  plural: "configmaps",
  kind: "ConfigMap",
  namespaced: true,
};

export interface ConfigMapPayloadOptions {
  readonly key: string;
  readonly now: () => number;
  /** A ConfigMap without the key, or with one that is not JSON: counted, and nothing is resolved by it. */
  readonly onError: (error: PayloadError, object: KubeObject) => void;
}

/** Reads the payload of a ConfigMap; undefined where there is nothing readable in it. */
export function configMapPayload(
  options: ConfigMapPayloadOptions,
): (object: KubeObject) => { payload: Payload; readable: boolean } | undefined {
  return (object) => {
    const data = object["data"];
    const text = typeof data === "object" && data !== null
      ? (data as Record<string, unknown>)[options.key]
      : undefined;
    if (typeof text !== "string") {
      const message = `the ConfigMap has no key "${options.key}"`;
      options.onError({ reason: "missing_field", path: `data.${options.key}`, message }, object);
      return undefined;
    }
    const documents = readDocuments(withoutLogLines(text));
    for (const error of documents.errors) {
      options.onError({ ...error, path: `data.${options.key} ${error.path}` }, object);
    }
    const body = bodyOf(documents);
    if (body === undefined) {
      const path = `data.${options.key}`;
      if (documents.errors.length === 0) {
        options.onError({ reason: "unreadable", path, message: "the text is empty" }, object);
      }
      return undefined;
    }
    return {
      payload: { body, origin: originOf(object, false), receivedAt: options.now() },
      readable: documents.errors.length === 0,
    };
  };
}
