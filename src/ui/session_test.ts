import { assert, assertEquals } from "@std/assert";
import { PageSession } from "./session.ts";

Deno.test("PageSession exchanges a token once, within five minutes after it was last handed out", () => {
  let now = 0;
  const session = new PageSession(() => now);
  assertEquals(session.exchange(""), undefined);
  const first = session.token();
  const secret = session.exchange(first);
  assert(secret !== undefined && session.isSecret(secret));
  assertEquals([session.exchange(first), session.hasGoodToken], [undefined, false]);
  const late = session.token();
  assert(late !== first);
  now = 300_000;
  assertEquals([session.exchange(late), session.hasGoodToken], [undefined, false]);
  const newer = session.token();
  assert(newer !== late);
  now += 299_999;
  assertEquals([session.exchange("wrong"), session.hasGoodToken], [undefined, true]);
  assertEquals(session.token(), newer, "it is unused");
  now += 299_999;
  assertEquals(session.exchange(newer), secret);
  for (const wrong of ["", newer, secret.slice(1), `${secret}x`]) assert(!session.isSecret(wrong));
  assert(!new PageSession().isSecret(secret), "another process has another secret");
});
