/**
 * No release moves the identity of a finding: `tests/fixtures/identity/<source>.json` lists the fingerprint of every
 * event of every fixture and case. For new fixtures: `UPDATE_IDENTITY=1 deno test -A tests/identity_golden_test.ts`. It
 * adds to the files, and changes a fingerprint that is in them only together with IDENTITY_VERSION.
 */
import { assert, assertEquals } from "@std/assert";
import { IDENTITY_VERSION, shortFingerprint } from "../src/model/identity.ts";
import {
  caseFiles,
  eventsOf,
  type IdentityInputs,
  identityInputs,
  payloadsOf,
} from "./support/identity_inputs.ts";

const FOLDER = new URL("./fixtures/identity/", import.meta.url);
const UPDATE = Deno.env.get("UPDATE_IDENTITY") === "1";

/** The version, and for each file the first 128 bits of the fingerprint of its n-th event. */
interface Golden {
  readonly version: number;
  readonly fingerprints: Readonly<Record<string, readonly string[]>>;
}

const inputs = await identityInputs();

for (const one of inputs) {
  Deno.test(`${one.name} gives every event of its fixtures the fingerprint that it had`, async () => {
    const path = new URL(`${one.name}.json`, FOLDER);
    const before = await goldenIn(path);
    const now: Golden = { version: IDENTITY_VERSION, fingerprints: await fingerprintsOf(one) };
    if (UPDATE) {
      assertNoneMoved(before, now);
      await Deno.writeTextFile(path, `${JSON.stringify(now, undefined, 1)}\n`);
      return;
    }
    assert(before, `Cannot compare "${one.name}": no ${path.pathname}. Run with UPDATE_IDENTITY=1`);
    assertNoneMoved(before, now);
    const why = `${path.pathname} does not list the fixtures. Run with UPDATE_IDENTITY=1`;
    assertEquals(now.version, before.version, why);
    assertEquals(Object.keys(now.fingerprints), Object.keys(before.fingerprints), why);
  });
}

Deno.test("every case is one of a source with a golden file", async () => {
  const read = new Set(inputs.flatMap(({ files }) => files));
  assertEquals((await caseFiles()).filter((file) => !read.has(file)), []);
});

Deno.test("a moved, a lost and an added event fail the comparison unless the version is another", () => {
  const golden = (fingerprints: string[], version = 1): Golden => ({
    version,
    fingerprints: { a: fingerprints },
  });
  assertNoneMoved(golden(["x", "y"]), golden(["x", "y"]));
  assertNoneMoved(golden(["x", "y"]), golden(["x", "z"], 2));
  for (const moved of [["x", "z"], ["x"], ["x", "y", "z"], ["y", "x"]]) {
    let message = "";
    try {
      assertNoneMoved(golden(["x", "y"]), golden(moved));
    } catch (error) {
      message = String(error);
    }
    assert(message.includes("IDENTITY_VERSION"), JSON.stringify(moved));
  }
});

function assertNoneMoved(before: Golden | undefined, now: Golden): void {
  if (!before || before.version !== now.version) return;
  const moved = Object.entries(before.fingerprints).flatMap(([file, fingerprints]) => {
    const actual = now.fingerprints[file];
    if (!actual) return []; // The fixture was removed.
    const length = Math.max(fingerprints.length, actual.length);
    return Array.from({ length }, (_, index) => index)
      .filter((index) => fingerprints[index] !== actual[index])
      .map((index) => `${file}, event ${index + 1}: ${fingerprints[index]} is now ${actual[index]}`);
  });
  assert(
    moved.length === 0,
    `${moved.length} fingerprints moved: stored findings would be stored again under other names.
${moved.slice(0, 10).join("\n")}
Undo what moved them. If it is meant to: raise IDENTITY_VERSION in src/model/identity.ts (a
changed cleaning is a new function in place of cleanIdentityV1), say so in CHANGELOG.md, and run:
UPDATE_IDENTITY=1 deno test -A tests/identity_golden_test.ts`,
  );
}

async function goldenIn(path: URL): Promise<Golden | undefined> {
  try {
    return JSON.parse(await Deno.readTextFile(path));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

async function fingerprintsOf(one: IdentityInputs): Promise<Record<string, string[]>> {
  const all: Record<string, string[]> = {};
  for (const file of one.files) {
    const payloads = await payloadsOf(one, file);
    all[file] = payloads.flatMap((payload) =>
      eventsOf(one, payload).map(({ event }) => shortFingerprint(event.fingerprint))
    );
  }
  return all;
}
