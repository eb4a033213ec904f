/** One Observation as exports show it: its row, what other tools ask of a finding, and why it is accepted. */
import type { KubeObject } from "../kube/api.ts";
import { type Json, textAt } from "../model/json.ts";
import type { Observation } from "../model/observation.ts";
import { cleanUrl } from "../text/clean.ts";
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

/** What the exception of a finding says: the justification, where that is recorded, and who accepted it; what is absent is left out. */
export function decisionOf(
  { justification, ticket, acceptedBy }: Pick<Finding, "justification" | "ticket" | "acceptedBy">,
): string {
  const by = acceptedBy && `accepted by ${acceptedBy}`;
  return [justification, ticket, by].filter((part) => part !== "").join(", ");
}

interface FindingOptions {
  readonly now: number;
  /** What is known of ObservationExceptions, by `namespace/name`. */
  readonly exceptions: ReadonlyMap<string, KubeObject>;
}

/** Projects an Observation. */
export function toFinding(observation: Observation, { now, exceptions }: FindingOptions): Finding {
  const row = toRow(observation, { now });
  const details = (key: string) => textAt(observation.spec.details, key);
  const spec = exceptions.get(row.exception)?.["spec"] as Json | undefined;
  const exception = (key: string) => textAt(spec, key);
  // Details of Falco hold fields of users' rules under any name.
  const links = ["primaryLink", "guideline", "url"].map((key) => cleanUrl(details(key)) ?? "");
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
