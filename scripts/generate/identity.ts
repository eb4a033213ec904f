/** docs/reference/identity.md: what makes two events of a source the same. */
import { IDENTITY_VERSION } from "../../src/model/identity.ts";
import { SOURCES } from "../../src/sources/registry.ts";
import { type GeneratedFile, markdown, markdownTable } from "./file.ts";

export function generateIdentity(): GeneratedFile[] {
  const rows = SOURCES.flatMap(({ name, kind, eventTypes }) =>
    Object.entries(eventTypes).map(([eventType, { identity }]) => [
      `\`${name}\``,
      kind,
      `\`${eventType}\``,
      [...identity, "severity", "source"].map((field) => `\`${field}\``).join(", "),
    ])
  );
  const volatile = SOURCES.flatMap(({ name, volatile = [] }) =>
    volatile.map((words) => [`\`${name}\``, words])
  );
  const details = SOURCES.flatMap(({ name, volatileDetails = [] }) =>
    volatileDetails.map((detail) => [`\`${name}\``, `\`${detail}\``])
  );
  const body =
    `The fingerprint of an event is the SHA-256 of the canonical JSON (sorted keys, one form of every number and character)
of the fields below and of \`v\`, the version of identity: ${IDENTITY_VERSION}. It is kept whole in the annotation \`zen.kube-zen.io/fingerprint\`.
The label of the same key holds its first 128 bits in hexadecimal, the Observation's name the first 100 bits in base32.

What is hashed is the tool's own text, with white space and control characters folded. Masking, messages, details and
labels may change in any release, and a finding keeps its name. The annotation \`zen.kube-zen.io/identity\` shows the same
fields for people: masked, cut at 1 KiB, and with \`…\` for what the Observation shows nowhere else.

${markdownTable(["source", "kind", "event type", "identity"], rows)}
What a namespaced report says also has that \`namespace\` in its fingerprint, unless it is the one its \`resource\` is
in: no report can pass for one of another namespace.

## What is volatile

These change from one report to the next and are no part of identity:

${markdownTable(["source", "volatile"], volatile)}
These details may change from one reading to the next without the finding counting as changed:

${markdownTable(["source", "detail"], details)}`;
  return [markdown("docs/reference/identity.md", "Identity", body)];
}
