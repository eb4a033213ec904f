/** What a backup holds, and how an object is made fit to be created again. */
import { OBSERVATION_FILTERS } from "../../src/filters/observation_filters.ts";
import { OBSERVATION_EXCEPTIONS } from "../../src/exceptions/kind.ts";
import type { KubeObject, ResourceType } from "../../src/kube/api.ts";
import { CONFIG_MAPS } from "../../src/kube/core_resources.ts";
import { INGESTERS, OBSERVATION_MAPPINGS } from "../../src/mapped/kinds.ts";
import { OBSERVATIONS } from "../../src/store/mod.ts";

/** Configuration first: what a restore brings back is then judged by the filters that were in force. */
export const BACKUP_KINDS: readonly ResourceType[] = [
  OBSERVATION_FILTERS,
  OBSERVATION_EXCEPTIONS,
  INGESTERS,
  OBSERVATION_MAPPINGS,
  OBSERVATIONS,
];

/** The resource of an object of a backup; undefined for what is none of ours. */
export function typeOf({ apiVersion, kind }: KubeObject): ResourceType | undefined {
  return [CONFIG_MAPS, ...BACKUP_KINDS].find((type) =>
    type.kind === kind && `${type.group === "" ? "" : `${type.group}/`}${type.version}` === apiVersion
  );
}

/** An object without what the API server gives it. Its status is written by itself. */
export function creatable({ apiVersion, kind, metadata, ...rest }: KubeObject): KubeObject {
  const { name, namespace, labels, annotations } = metadata;
  const { status: _status, ...content } = rest;
  return {
    ...(apiVersion === undefined ? {} : { apiVersion }),
    ...(kind === undefined ? {} : { kind }),
    metadata: {
      ...(name === undefined ? {} : { name }),
      ...(namespace === undefined ? {} : { namespace }),
      ...(labels ? { labels } : {}),
      ...(annotations ? { annotations } : {}),
    },
    ...content,
  };
}
