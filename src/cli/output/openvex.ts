/** OpenVEX 0.2.0: what is accepted about a vulnerability, as a statement about the image it is in. */
import type { Finding } from "../../read/finding.ts";
import { placeOf } from "../../read/row.ts";

/** `@context` of an OpenVEX document. */
export const OPENVEX_CONTEXT = "https://openvex.dev/ns/v0.2.0";

/** A statement; undefined for what is not accepted, and for what is no vulnerability. */
export function openVexStatement(finding: Finding): object | undefined {
  const { exception } = finding;
  if (
    finding.phase !== "Accepted" || !exception || finding.eventType !== "vulnerability" || finding.rule === ""
  ) {
    return undefined;
  }
  return {
    "@id": `urn:zen-watcher:${finding.fingerprint}`,
    vulnerability: { name: finding.rule, ...(finding.title && { description: finding.title }) },
    products: [productOf(finding)],
    ...(finding.acceptedSince && { timestamp: finding.acceptedSince }),
    ...statusOf(finding),
    status_notes: notesOf(finding),
  };
}

function statusOf({ acceptedReason, justification, acceptedUntil }: Finding): object {
  const why = justification || "The exception does not say why";
  switch (acceptedReason) {
    case "not_affected":
    case "false_positive":
      return { status: "not_affected", impact_statement: why };
    case "mitigated":
      return { status: "not_affected", impact_statement: `Mitigated: ${why}` };
    case "fix_planned":
      return { status: "affected", action_statement: `A fix is planned by ${acceptedUntil}: ${why}` };
    default:
      return { status: "affected", action_statement: `The risk is accepted until ${acceptedUntil}: ${why}` };
  }
}

function notesOf(finding: Finding): string {
  return [
    placeOf(finding),
    `exception ${finding.exception} until ${finding.acceptedUntil}`,
    ...(finding.ticket ? [finding.ticket] : []),
    ...(finding.acceptedBy ? [`accepted by ${finding.acceptedBy}`] : []),
  ].join("; ");
}

/** The image, else the workload; the package is a component of it. */
function productOf(finding: Finding): object {
  const purl = imagePurl(finding.image);
  const id = purl ??
    `urn:kubernetes:${[finding.namespace, finding.kind, finding.resource].map(encodeURIComponent).join(":")}`;
  const component = finding.purl.startsWith("pkg:")
    ? { "@id": finding.purl, identifiers: { purl: finding.purl } }
    : undefined;
  return {
    "@id": id,
    ...(purl && { identifiers: { purl } }),
    ...(component && { subcomponents: [component] }),
  };
}

/** `pkg:oci/web@sha256:…?repository_url=registry.example/shop/web&tag=1.2`; undefined where the image is not known. */
export function imagePurl(image: string): string | undefined {
  const [named = "", digest] = image.split("@");
  const [, repository = "", tag] = /^(.*?)(?::([^:/]+))?$/.exec(named) ?? [];
  const name = repository.split("/").at(-1) ?? "";
  if (name === "") return undefined;
  const qualifiers = [
    ...(repository.includes("/") ? [`repository_url=${encodeURIComponent(repository)}`] : []),
    ...(tag ? [`tag=${encodeURIComponent(tag)}`] : []),
  ];
  const version = digest ? `@${encodeURIComponent(digest)}` : "";
  return `pkg:oci/${encodeURIComponent(name.toLowerCase())}${version}${
    qualifiers.length > 0 ? `?${qualifiers.join("&")}` : ""
  }`;
}
