/** Properties of the pipeline, checked on random inputs. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  canonicalJson,
  fingerprintOf,
  isLabelValue,
  isNamespaceName,
  labelValue,
} from "../src/model/identity.ts";
import { clean, cleanText, jsonBytes, truncateObject } from "../src/text/clean.ts";
import type { DrawnEvent, Payload } from "../src/model/event.ts";
import { isObject, type Json } from "../src/model/json.ts";
import { mask } from "../src/text/mask.ts";
import type { Observation } from "../src/model/observation.ts";
import { observationSchema } from "../src/model/observation_schema.ts";
import { parseTime } from "../src/model/time.ts";
import { contentHashOf, normalize, type NormalizeOptions, toObservation } from "../src/pipeline/normalize.ts";
import { EVENT_SETTINGS } from "./support/source_runtime.ts";
import {
  everyString,
  isLegal,
  json,
  jsonObject,
  retell,
  sameValue,
  wildText,
} from "./support/arbitraries.ts";

const RUNS = { numRuns: 300 };

Deno.test("canonical JSON and fingerprints do not depend on key order, escapes or number forms", () => {
  fc.assert(
    fc.property(json, fc.integer(), (value, seed) => {
      const told = JSON.parse(retell(value, seed));
      assertEquals(canonicalJson(told), canonicalJson(value));
      assertEquals(fingerprintOf(told), fingerprintOf(value));
    }),
    RUNS,
  );
});

Deno.test("canonical JSON reads back as the same value, and different values have different texts", () => {
  fc.assert(
    fc.property(json, json, (one, other) => {
      assertEquals(canonicalJson(JSON.parse(canonicalJson(one))), canonicalJson(one));
      assertEquals(canonicalJson(one) === canonicalJson(other), sameValue(one, other));
    }),
    RUNS,
  );
});

Deno.test("clean text is legal, within its limit, and cleaning it again changes nothing", () => {
  fc.assert(
    fc.property(wildText, fc.integer({ min: 0, max: 40 }), (given, limit) => {
      const cleaned = clean(given, limit);
      assert(cleaned.length <= limit);
      assert(isLegal(cleaned), JSON.stringify(cleaned));
      assertEquals(clean(cleaned, limit), cleaned);
    }),
    RUNS,
  );
});

Deno.test("masking a second time changes nothing, and masked text stays legal", () => {
  fc.assert(
    fc.property(wildText, (given) => {
      const masked = mask(clean(given, 1000));
      assertEquals(mask(masked), masked);
      assert(isLegal(cleanText(given, 50)) && cleanText(given, 50).length <= 50);
    }),
    RUNS,
  );
});

Deno.test("no password of a flag, variable, header or address survives, whatever is around it", () => {
  const secret = fc.stringMatching(/^[A-Za-z0-9]{8}q7Z[A-Za-z0-9]{8}$/);
  const forms: ((secret: string) => string)[] = [
    (s) => `--password=${s}`,
    (s) => `--api-token ${s}`,
    (s) => `DB_PASSWORD=${s}`,
    (s) => `-H 'Authorization: Bearer ${s}'`,
    (s) => `-H 'X-Api-Key: ${s}'`,
    (s) => `https://user:${s}@host/path`,
    (s) => `{"client_secret": "${s}"}`,
    (s) => `https://host/?access_token=${s}&x=1`,
    (s) => `mysql -p${s}`,
    (s) => `(user=root command=mysql -uroot -p${s} pid=1)`,
    (s) => `sh -c "cd /;mysql -p'${s}'"`,
    (s) => `curl -sku me:${s} x`,
    (s) => `curl -H Token: ${s}`,
    (s) => `password : ${s}`,
    (s) => `/exec?command=sh&command=-c&command=mysql+-p${s}&stdin=true`,
  ];
  const word = fc.stringMatching(/^[a-z./-]{1,8}$/);
  fc.assert(
    fc.property(
      secret,
      fc.constantFrom(...forms),
      fc.array(word),
      fc.array(word),
      (hidden, form, before, after) => {
        const line = [...before, form(hidden), ...after].join(" ");
        assert(!mask(line).includes(hidden), `${line} → ${mask(line)}`);
      },
    ),
    { numRuns: 500 },
  );
});

Deno.test("truncated objects keep their bound, and truncating them again changes nothing", () => {
  fc.assert(
    fc.property(jsonObject, fc.integer({ min: 2, max: 300 }), (given, maxBytes) => {
      const { value, truncated } = truncateObject(given, maxBytes);
      assert(jsonBytes(value) <= maxBytes);
      assertEquals(truncated, jsonBytes(given) > maxBytes);
      assertEquals(truncateObject(value, maxBytes), { value, truncated: false });
    }),
    RUNS,
  );
});

Deno.test("label values are always legal, and unchanged where they were", () => {
  fc.assert(
    fc.property(wildText, (given) => {
      const value = labelValue(given);
      assert(isLabelValue(value), value);
      if (isLabelValue(given)) assertEquals(value, given);
    }),
    RUNS,
  );
});

Deno.test("times read as RFC 3339 print as RFC 3339 and read the same again", () => {
  const stamp = fc.date({ min: new Date("0001-01-02"), max: new Date("9999-12-30"), noInvalidDate: true });
  const part = (max: number) => fc.integer({ min: 0, max }).map((n) => String(n).padStart(2, "0"));
  const digits = fc.stringMatching(/^[0-9]{1,12}$/);
  fc.assert(
    fc.property(
      stamp,
      digits,
      fc.constantFrom("+", "-"),
      part(23),
      part(59),
      (date, fraction, sign, hours, minutes) => {
        const whole = date.toISOString().slice(0, 19);
        const read = parseTime(`${whole}.${fraction}${sign}${hours}:${minutes}`);
        assert(read);
        const offsetMs = (sign === "-" ? -1 : 1) * (Number(hours) * 60 + Number(minutes)) * 60_000;
        const ms = Math.trunc(Number(`0.${fraction.slice(0, 9)}`) * 1000);
        assertEquals(read.ms, Date.parse(`${whole}Z`) - offsetMs + ms);
        assertEquals(parseTime(read.text), read);
      },
    ),
    RUNS,
  );
});

Deno.test("normalize() takes anything and yields an Observation that its schema takes", () => {
  const field = (...likely: Json[]) => fc.oneof(fc.constantFrom(...likely), json, wildText);
  const event = fc.record({
    source: field("falco", "My Tool"),
    category: field("security", "cost"),
    severity: field("High", null),
    eventType: field("vulnerability", "A_b"),
    message: field("a message"),
    rules: field(["CVE-1"], [1, {}]),
    resource: field({ kind: "Pod", name: "x", namespace: "shop" }, { namespace: 7 }),
    details: fc.oneof(json, jsonObject),
    detectedAt: field("2026-01-01T00:00:00Z", 1_767_225_600_000, "never", -1),
    identity: json,
    drop: field("not_relevant"),
    resolved: field(true),
    ttlSeconds: field(60, 0, 1e300),
  }, { requiredKeys: [] });
  const context = fc.record({
    origin: fc.record({
      namespace: fc.constantFrom("shop", "", "Not Legal"),
      confined: fc.boolean(),
    }),
    receivedAt: fc.integer({ min: 946_684_800_000, max: 4_102_444_800_000 }),
  });
  fc.assert(fc.property(fc.oneof(event, json), context, (given, around) => checkNormal(given, around)), {
    numRuns: 1000,
  });
});

const OPTIONS: NormalizeOptions = {
  source: { name: "trivy", kind: "finding", volatileDetails: ["score"] },
  feed: { type: "watch" },
  settings: EVENT_SETTINGS,
};

function checkNormal(given: unknown, context: Pick<Payload, "origin" | "receivedAt">): void {
  const hostile = (isObject(given) ? given : {}) as object as DrawnEvent; // what a mapper may hand on by mistake
  const event = normalize(hostile, context, OPTIONS);
  const object: Observation = toObservation(event, 0, { instance: "default", eventId: "e" });
  const checked = observationSchema.safeParse(object);
  assert(checked.success, checked.error?.message);
  assert(event.message !== "" && isLegal(event.message));
  assert(isNamespaceName(event.namespace), event.namespace);
  assert(jsonBytes(event.details) <= 8192);
  everyString(event.details, (each) => assert(isLegal(each), JSON.stringify(each)));
  for (const value of Object.values(object.metadata.labels ?? {})) {
    assert(isLabelValue(value) && value !== "", value);
  }
  for (const value of Object.values(object.metadata.annotations ?? {})) {
    assert(new TextEncoder().encode(value).length <= 1024);
  }
  if (context.origin.confined && context.origin.namespace === "shop") {
    assertEquals(event.namespace, "shop");
    assert(event.resource === undefined || event.resource.namespace === "shop");
  }
  const reread: Observation = JSON.parse(JSON.stringify(object));
  assertEquals(contentHashOf(reread, ["score"]), event.contentHash);
  assertEquals(normalize(hostile, context, OPTIONS), event);
}
