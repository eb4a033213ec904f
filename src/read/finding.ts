/** One Observation as exports show it: its row, what other tools ask of a finding, and why it is accepted. */
import { OBSERVATION_EXCEPTIONS } from "../exceptions/kind.ts";
import { hasStatus, type KubeApi, type KubeObject, resourceName } from "../kube/api.ts";
import { isObject } from "../model/json.ts";
import type { Observation } from "../model/observation.ts";
import { type ObservationRow, toRow } from "./row.ts";

/** A row with the facts that its details hold, and with those of its exception. Texts that are absent are "". */
export interface Finding extends ObservationRow {
  readonly title: string;
  readonly package: string;
  readonly installedVersion: string;
  readonly fixedVersion: string;
  readonly purl: string;
  /** How to mend it, in the tool's words. */
  readonly remediation: string;
  /** An https address that says more. */
  readonly link: string;
  /** An `ExceptionReason`. */
  readonly acceptedReason: string;
  readonly justification: string;
  readonly ticket: string;
  readonly acceptedBy: string;
}

interface FindingOptions {
  readonly now: number;
  /** What is known of ObservationExceptions, by `namespace/name`. */
  readonly exceptions: ReadonlyMap<string, KubeObject>;
}

/** Projects an Observation. */
export function toFinding(observation: Observation, { now, exceptions }: FindingOptions): Finding {
  const row = toRow(observation, { now });
  const details = textsOf(observation.spec.details);
  const exception = textsOf(exceptions.get(row.exception)?.["spec"]);
  const links = [details("primaryLink"), details("guideline"), details("url")];
  return {
    ...row,
    title: details("title"),
    package: details("package"),
    installedVersion: details("installedVersion"),
    fixedVersion: details("fixedVersion"),
    purl: details("purl"),
    remediation: details("remediation"),
    link: links.find((link) => link.startsWith("https://")) ?? "",
    acceptedReason: exception("reason"),
    justification: exception("justification"),
    ticket: exception("ticket"),
    acceptedBy: exception("acceptedBy"),
  };
}

function textsOf(value: unknown): (key: string) => string {
  return (key) => {
    const text = isObject(value) ? value[key] : undefined;
    return typeof text === "string" ? text : "";
  };
}

const PAGE_SIZE = 200;

/**
 * Every ObservationException by `namespace/name`. Where the kind is not served there is none; where it may not be listed,
 * `onNote` says what is left out.
 */
export async function readExceptions(
  api: KubeApi,
  { onNote }: { readonly onNote?: (note: string) => void } = {},
): Promise<Map<string, KubeObject>> {
  const exceptions = new Map<string, KubeObject>();
  let token = "";
  try {
    do {
      const { items, metadata } = await api.list(OBSERVATION_EXCEPTIONS, {
        limit: PAGE_SIZE,
        ...(token && { continue: token }),
      });
      for (const item of items) exceptions.set(`${item.metadata.namespace}/${item.metadata.name}`, item);
      token = metadata.continue ?? "";
    } while (token !== "");
  } catch (error) {
    if (hasStatus(error, 404)) return exceptions;
    if (!hasStatus(error, 403)) throw error;
    const right = `list ${resourceName(OBSERVATION_EXCEPTIONS)}`;
    onNote?.(`Reasons of exceptions are left out: you may not ${right} in all namespaces`);
  }
  return exceptions;
}
