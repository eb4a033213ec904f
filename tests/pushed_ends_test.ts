import { assertEquals } from "@std/assert";
import type { FakeCall } from "./support/fake_kube.ts";
import { FakeKube } from "./support/fake_kube.ts";
import { Replica } from "./support/replica.ts";
import { settled, VirtualTime } from "./support/virtual_time.ts";

const ALERT = { identity: { alertname: "DiskFull" } };
const END = { ...ALERT, resolved: true };

for (const [name, together] of [["in one request", true], ["in another request", false]] as const) {
  Deno.test(`an alert that fires while its end is looked up is stored (${name})`, async () => {
    const time = new VirtualTime();
    const kube = new FakeKube(() => time.now());
    // The index has gaps: whether the end is of something stored, only a list can say.
    const replica = new Replica(kube, { time, unlisted: true });
    const listing = Promise.withResolvers<void>();
    kube.script = { before: ({ verb }: FakeCall) => verb === "list" ? listing.promise : undefined };
    try {
      const taken = together
        ? [replica.take([END, ALERT], { kind: "finding" })]
        : [replica.take([END], { kind: "finding" }), replica.take([ALERT], { kind: "finding" })];
      await settled();
      listing.resolve();
      await Promise.all(taken);
      assertEquals(kube.stored.length, 1);
      assertEquals(replica.books.map(({ outcomes }) => outcomes.map(({ kind }) => kind).join()), [
        "filtered",
        "created",
      ]);
    } finally {
      listing.resolve();
      await replica.kill();
    }
  });
}
