/** What moves the identity of no finding, and what tells findings apart, over the fixtures and cases of every source. */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import type { Payload } from "../src/model/event.ts";
import {
  canonicalJson,
  cleanIdentityV1,
  deploymentOfReplicaSet,
  observationName,
} from "../src/model/identity.ts";
import { at, isObject, type Json, type JsonObject, textAt } from "../src/model/json.ts";
import { eventsOf, type IdentityInputs, identityInputs, payloadsOf } from "./support/identity_inputs.ts";
import { runtimeFor } from "./support/source_runtime.ts";

const inputs = await identityInputs();
const findings = inputs.filter(({ source }) => source.kind === "finding");
const reports = inputs.filter(({ name }) => name === "trivy" || name === "kyverno");
const trivyAlone = inputs.filter(({ name }) => name === "trivy");

Deno.test("two identities never share a fingerprint or a name, and one identity has one", async () => {
  const identityOfFingerprint = new Map<string, string>();
  const fingerprintOfName = new Map<string, string>();
  for (const one of inputs) {
    for (const file of one.files) {
      for (const payload of await payloadsOf(one, file)) {
        for (const { drawn, event } of eventsOf(one, payload)) {
          const { source, severity, fingerprint, resource } = event;
          const namespace = payload.origin.confined ? payload.origin.namespace : resource?.namespace;
          const identity = cleanIdentityV1(drawn.identity);
          const named = isObject(identity.resource) ? identity.resource.namespace : undefined;
          const text = canonicalJson({ source, severity, identity, at: named ?? namespace ?? "" });
          assertEquals(identityOfFingerprint.get(fingerprint) ?? text, text, file);
          identityOfFingerprint.set(fingerprint, text);
          const name = observationName(source, fingerprint, 0);
          assertEquals(fingerprintOfName.get(name) ?? fingerprint, fingerprint, file);
          fingerprintOfName.set(name, fingerprint);
        }
      }
    }
  }
  assertEquals(new Set(identityOfFingerprint.values()).size, fingerprintOfName.size);
  assert(fingerprintOfName.size > 2_000, `${fingerprintOfName.size} identities`);
});

Deno.test("findings keep their names when every list of a report is turned around", async () => {
  await keepNames(findings, { min: 2_000, change: reversed });
});

Deno.test("findings keep their names when times, uids and versions of the report are others", async () => {
  await keepNames(findings, { min: 1_000, change: reissued });
});

Deno.test("findings keep their names when a rollout gives the ReplicaSet another hash", async () => {
  await keepNames(reports, { min: 200, change: rolledOut });
});

Deno.test("trivy keeps its findings' names when the image has another tag and digest", async () => {
  await keepNames(trivyAlone, { min: 500, change: retagged });
});

Deno.test("trivy keeps its findings' names over a point release of the base image", async () => {
  await keepNames(trivyAlone, { min: 100, change: pointReleased });
});

Deno.test("findings that differ in nothing but a masked secret are two, under any mask", async () => {
  let compared = 0;
  for (const one of findings) {
    const { normalize } = runtimeFor(one.source);
    for (const file of one.files) {
      for (const payload of await payloadsOf(one, file)) {
        for (const { drawn } of eventsOf(one, payload)) {
          const [first, second] = ["hunter2hunter2", "swordfish99"].map((secret) => {
            const identity = withText(drawn.identity, ` --password=${secret}`);
            return normalize({ ...drawn, identity }, payload);
          });
          assert(first && second);
          assertNotEquals(first.fingerprint, second.fingerprint, file);
          assertEquals(first.identity, second.identity, "the readable identity shows no secret");
          compared++;
        }
      }
    }
  }
  assert(compared > 2_000, `${compared} compared`);
});

interface Change {
  /** How many findings the fixtures must have for the change to concern. */
  readonly min: number;
  /** The payload's body after the change; undefined where the change does not concern it. */
  change(body: Json): Json | undefined;
}

/** Asserts that every payload yields the same names before and after the change. */
async function keepNames(all: readonly IdentityInputs[], { min, change }: Change): Promise<void> {
  let kept = 0;
  const moved: string[] = [];
  for (const one of all) {
    for (const file of one.files) {
      for (const payload of await payloadsOf(one, file)) {
        const body = change(payload.body);
        if (body === undefined) continue;
        const [before, after] = [payload, { ...payload, body }].map((each) => namesOf(one, each));
        const lost = before?.filter((name) => !after?.includes(name)) ?? [];
        const came = after?.filter((name) => !before?.includes(name)) ?? [];
        if (lost.length + came.length > 0) moved.push(`${file}: ${lost.length} lost, ${came.length} new`);
        kept += before?.length ?? 0;
      }
    }
  }
  assertEquals(moved, []);
  assert(kept >= min, `the change concerned ${kept} findings, expected ${min} or more`);
}

function namesOf(one: IdentityInputs, payload: Payload): string[] {
  const names = eventsOf(one, payload).map(({ event: { source, fingerprint } }) =>
    observationName(source, fingerprint, 0)
  );
  return [...new Set(names)].toSorted();
}

/** A copy with `change` done to every value, from the leaves up. */
function mapped(value: Json, change: (value: Json, key: string) => Json, key = ""): Json {
  if (Array.isArray(value)) return change(value.map((item) => mapped(item, change, key)), key);
  if (!isObject(value)) return change(value, key);
  const copy: JsonObject = {};
  for (const [name, member] of Object.entries(value)) copy[name] = mapped(member, change, name);
  return change(copy, key);
}

/** Lists of objects and of messages; those of other words are a tool's sentence (a command, a range of lines). */
function reversed(body: Json): Json {
  return mapped(
    body,
    (value, key) =>
      Array.isArray(value) && (key === "messages" || value.some(isObject)) ? value.toReversed() : value,
  );
}

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)$/;
const ISSUED = /^(?:uid|resourceVersion|resultID|resultId|selfLink|managedFields)$/;

function reissued(body: Json): Json {
  return mapped(body, (value, key) => {
    if (typeof value === "string" && (ISSUED.test(key) || TIME.test(value))) {
      return TIME.test(value) ? "2026-11-21T05:04:03Z" : `${value}-another`;
    }
    if (!isObject(value) || (value.seconds === undefined && value.nanos === undefined)) return value;
    return { ...value, seconds: 1_700_000_000, nanos: 5 };
  });
}

function rolledOut(body: Json): Json | undefined {
  const names = new Set<string>();
  mapped(body, (value) => {
    if (!isObject(value)) return value;
    if (value.kind === "ReplicaSet") names.add(String(value.name));
    for (const prefix of ["trivy-operator", "starboard", "imgvuln"]) {
      if (value[`${prefix}.resource.kind`] === "ReplicaSet") {
        names.add(String(value[`${prefix}.resource.name`]));
      }
    }
    return value;
  });
  let text = JSON.stringify(body);
  let count = 0;
  for (const name of names) {
    const deployment = deploymentOfReplicaSet(name);
    if (deployment === undefined) continue;
    count++;
    text = text.replaceAll(name, `${deployment}-6c9d5f7b84`);
  }
  return count === 0 ? undefined : JSON.parse(text);
}

function retagged(body: Json): Json | undefined {
  const artifact = at(body, "report", "artifact");
  const [repository, tag] = [textAt(artifact, "repository"), textAt(artifact, "tag")];
  if (repository === "" || tag === "") return undefined;
  const text = JSON.stringify(body).replaceAll(`${repository}:${tag}`, `${repository}:99.9.9`);
  return mapped(JSON.parse(text), (value, key) => {
    if (key !== "artifact" || !isObject(value)) return value;
    return { ...value, tag: "99.9.9", digest: `sha256:${"ab".repeat(32)}` };
  });
}

/** As reports show the system: `(debian 12.11)`, `distro=debian-12.11`, `{"family":"debian","name":"12.11"}`. */
function pointReleased(body: Json): Json | undefined {
  const text = JSON.stringify(body);
  const next = text
    .replace(/(\((?:debian|alpine|ubuntu|redhat) [\d.]*\d)(\))/g, "$1.7$2")
    .replace(/(distro=[a-z]+-[\d.]*\d)/g, "$1.7")
    .replace(/("family":"[a-z]+","name":"[\d.]+)"/g, '$1.7"');
  return next === text ? undefined : JSON.parse(next);
}

/** The identity with `words` after its first text that is no part of the resource. */
function withText(identity: Json, words: string): JsonObject {
  assert(isObject(identity));
  const [key, text] = Object.entries(identity).find(([, value]) => typeof value === "string") ??
    ["added", ""];
  return { ...identity, [key]: `${text}${words}` };
}
