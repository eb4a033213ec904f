/** docs/reference/identity.md: what makes two events of a source the same. */
import { SOURCES } from "../../src/sources/registry.ts";
import { type GeneratedFile, markdown, table } from "./file.ts";

export function generateIdentity(): GeneratedFile[] {
  const rows = SOURCES.flatMap(({ name, kind, eventTypes }) =>
    Object.entries(eventTypes).map(([eventType, { identity }]) => [
      `\`${name}\``,
      kind,
      `\`${eventType}\``,
      [...identity, "severity", "source"].map((field) => `\`${field}\``).join(", "),
    ])
  );
  const volatile = SOURCES.flatMap(({ name, volatileDetails = [] }) =>
    volatileDetails.map((detail) => [`\`${name}\``, `\`${detail}\``])
  );
  const body =
    `The fingerprint of an event is the SHA-256 of the canonical JSON (sorted keys, one form of every number
and character) of the fields below. It is kept whole in the annotation \`zen.kube-zen.io/fingerprint\`; its first 128
bits are part of the Observation's name and the label of the same key. The annotation \`zen.kube-zen.io/identity\` holds
the text that was hashed, cut at 1 KiB. Secrets in it are masked before it is hashed.

${table(["source", "kind", "event type", "identity"], rows)}
What a namespaced report says also has that \`namespace\` in its fingerprint, unless it is the one its \`resource\` is
in: no report can pass for one of another namespace.

A repeat never differs by a time, a resourceVersion, the uid of a report, the hash of a ReplicaSet or the number of a
Job. These details may change from one reading to the next without the finding counting as changed:

${table(["source", "detail"], volatile)}`;
  return [markdown("docs/reference/identity.md", "Identity", body)];
}
