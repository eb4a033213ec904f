import { assert, assertEquals } from "@std/assert";
import { PageSession } from "./session.ts";

Deno.test("PageSession exchanges a token once, within five minutes, and the newest alone", () => {
  let now = 0;
  const session = new PageSession(() => now);
  assertEquals(session.exchange(""), undefined);
  const first = session.newToken();
  const secret = session.exchange(first);
  assert(secret !== undefined && session.isSecret(secret));
  assertEquals(session.exchange(first), undefined);
  const late = session.newToken();
  now = 300_000;
  assertEquals(session.exchange(late), undefined);
  const older = session.newToken();
  const newer = session.newToken();
  assertEquals(session.exchange(older), undefined);
  now += 299_999;
  assertEquals(session.exchange(newer), secret);
  for (const wrong of ["", newer, secret.slice(1), `${secret}x`]) assert(!session.isSecret(wrong));
  assert(!new PageSession().isSecret(secret), "another process has another secret");
});
