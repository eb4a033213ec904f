/** What moves the identity of no finding, and what tells findings apart, over the fixtures and cases of every source: one table. */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { textTable } from "../scripts/support/table.ts";
import type { Payload } from "../src/model/event.ts";
import {
  canonicalJson,
  cleanIdentityV1,
  deploymentOfReplicaSet,
  observationName,
} from "../src/model/identity.ts";
import { at, isObject, type Json, type JsonObject, textAt } from "../src/model/json.ts";
import { printLine } from "./chaos/form.ts";
import {
  eventsOf,
  type IdentityEvent,
  type IdentityInputs,
  identityInputs,
  payloadsOf,
} from "./support/identity_inputs.ts";
import { runtimeFor } from "./support/source_runtime.ts";

const inputs = await identityInputs();
const findings = inputs.filter(({ source }) => source.kind === "finding");

/** What moves no finding's name. */
interface Change {
  readonly title: string;
  /** Absent: of every source. */
  readonly sources?: readonly string[];
  /** How many findings the fixtures must have that it concerns. */
  readonly min: number;
  /** The names after the change; undefined if it does not concern the payload. */
  names(one: IdentityInputs, payload: Payload): readonly string[] | undefined;
}

const CHANGES: readonly Change[] = [
  { title: "LISTS REVERSED", min: 2_000, names: afterBody(reversed) },
  { title: "TIMES, UIDS", min: 1_000, names: afterBody(reissued) },
  { title: "REPLICASET HASH", sources: ["trivy", "kyverno"], min: 200, names: afterBody(rolledOut) },
  { title: "IMAGE TAG", sources: ["trivy"], min: 500, names: afterBody(retagged) },
  { title: "POINT RELEASE", sources: ["trivy"], min: 100, names: afterBody(pointReleased) },
  { title: "MASK", min: 2_000, names: underOtherMasks },
];

Deno.test("over all fixtures no two identities collide, and no change that is none moves a finding's name", async () => {
  const identityOfName = new Map<string, string>();
  const nameOfIdentity = new Map<string, string>();
  const concerned = CHANGES.map(() => 0);
  const wrong: string[] = [];
  const rows: string[][] = [];
  for (const one of inputs) {
    const [events, names] = [[] as IdentityEvent[], new Set<string>()];
    let collisions = 0;
    const moved = CHANGES.map(() => ({ of: 0, count: 0 }));
    for (const file of one.files) {
      for (const payload of await payloadsOf(one, file)) {
        const drawn = eventsOf(one, payload);
        events.push(...drawn);
        for (const each of drawn) {
          const [name, text] = [nameOf(each.event), identityText(each, payload)];
          names.add(name);
          const isOne = (identityOfName.get(name) ?? text) === text &&
            (nameOfIdentity.get(text) ?? name) === name;
          if (!isOne) wrong.push(`${file}: ${name} collides, or ${text} has two names`);
          if (!isOne) collisions++;
          identityOfName.set(name, text);
          nameOfIdentity.set(text, name);
        }
        for (const [index, { sources, title, names: namesAfter }] of CHANGES.entries()) {
          if (!findings.includes(one) || sources?.includes(one.name) === false) continue;
          const after = namesAfter(one, payload);
          if (after === undefined) continue;
          const before = namesIn(drawn);
          const lost = before.filter((name) => !after.includes(name)).length;
          const came = after.filter((name) => !before.includes(name)).length;
          if (lost + came > 0) wrong.push(`${file}: ${title}: ${lost} lost, ${came} new`);
          moved[index]!.of += before.length;
          moved[index]!.count += Math.max(lost, came);
        }
      }
    }
    moved.forEach(({ of }, index) => concerned[index]! += of);
    rows.push([
      one.name,
      String(events.length),
      String(names.size),
      String(collisions),
      ...moved.map(({ of, count }) => of === 0 ? "–" : `${count} of ${of}`),
    ]);
  }
  const total = rows.reduce((sum, [, events]) => sum + Number(events), 0);
  rows.push(["all", String(total), String(identityOfName.size), "", ...concerned.map((of) => `of ${of}`)]);
  printLine(
    textTable(["SOURCE", "EVENTS", "IDENTITIES", "COLLIDE", ...CHANGES.map(({ title }) => title)], rows),
  );
  assertEquals(wrong, []);
  assert(identityOfName.size > 2_000, `${identityOfName.size} identities`);
  CHANGES.forEach(({ title, min }, index) => {
    assert(
      concerned[index]! >= min,
      `${title} concerned ${concerned[index]} findings, expected ${min} or more`,
    );
  });
});

/** All that tells an event apart, by the contract. */
function identityText({ drawn, event }: IdentityEvent, payload: Payload): string {
  const { source, severity, resource } = event;
  const namespace = payload.origin.confined ? payload.origin.namespace : resource?.namespace;
  const identity = cleanIdentityV1(drawn.identity);
  const named = isObject(identity.resource) ? identity.resource.namespace : undefined;
  return canonicalJson({ source, severity, identity, at: named ?? namespace ?? "" });
}

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

function nameOf({ source, fingerprint }: IdentityEvent["event"]): string {
  return observationName(source, fingerprint, 0);
}

function namesIn(events: readonly IdentityEvent[]): string[] {
  return [...new Set(events.map(({ event }) => nameOf(event)))];
}

/** The names that a changed body gives; undefined where `change` gives none. */
function afterBody(change: (body: Json) => Json | undefined): Change["names"] {
  return (one, payload) => {
    const body = change(payload.body);
    return body === undefined ? undefined : namesIn(eventsOf(one, { ...payload, body }));
  };
}

/** The names where the mask runs over every text that is shown, and where it runs over none. */
function underOtherMasks(one: IdentityInputs, payload: Payload): string[] {
  const { normalize } = runtimeFor(one.source);
  const names = eventsOf(one, payload).flatMap(({ drawn }) => {
    const every = ["message", ...Object.keys(isObject(drawn.details) ? drawn.details : {})];
    return [[], every].map((prose) => nameOf(normalize({ ...drawn, prose }, payload)));
  });
  return [...new Set(names)];
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
