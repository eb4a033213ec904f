/** The books of a running program, as `/tools/status` shows them. */
import { assert, assertEquals } from "@std/assert";
import { isObject, type JsonObject } from "../../src/model/json.ts";
import type { Account } from "../../src/telemetry/metrics.ts";
import { eventually } from "./eventually.ts";

/** `/tools/status`. */
export async function statusOf(url: string): Promise<JsonObject> {
  const response = await fetch(`${url}/tools/status`);
  const status: unknown = await response.json();
  assert(isObject(status), "the status is an object");
  return status;
}

/** Each source's account. */
export async function accountsOf(url: string): Promise<Readonly<Record<string, Account>>> {
  const { books } = await statusOf(url);
  assert(isObject(books));
  return Object.fromEntries(Object.entries(books).map(([source, account]) => [source, toAccount(account)]));
}

/** Waits until nothing is in flight; fails unless `events = created + deduped + filtered + failed` for every source. */
export async function closedBooks(url: string): Promise<Readonly<Record<string, Account>>> {
  const accounts = await eventually("nothing to be in flight", async () => {
    const all = await accountsOf(url);
    return Object.values(all).every(({ inFlight }) => inFlight === 0) && all;
  });
  for (const [source, { events, created, deduped, filtered, failed }] of Object.entries(accounts)) {
    assertEquals(events, created + deduped + filtered + failed, `books of ${source}`);
  }
  return accounts;
}

function toAccount(value: unknown): Account {
  assert(isObject(value));
  const { events, created, deduped, filtered, failed, inFlight } = value;
  const [e, c, d, fi, fa, i] = [events, created, deduped, filtered, failed, inFlight].map(Number);
  return { events: e!, created: c!, deduped: d!, filtered: fi!, failed: fa!, inFlight: i! };
}
