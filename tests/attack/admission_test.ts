/** What a neighbour on the network can do to the admission webhook, against the program as a process of its own. */
import { assert, assertEquals } from "@std/assert";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { startDevPod } from "../support/dev_pod.ts";
import { eventually } from "../support/eventually.ts";
import { listeningIn } from "../support/listening.ts";

const PATH = "/admission/validate";
const MIB = 2 ** 20;

/** The program with its TLS port; each request names the address that it comes from. */
async function startTarget() {
  await using stack = new AsyncDisposableStack();
  const { controller, caPem } = stack.use(
    await startDevPod({
      env: {
        WATCHER_TLS_PORT: "0",
        TLS_CERT_FILE: "FOLDER/tls.crt",
        TLS_KEY_FILE: "FOLDER/tls.key",
        TRUSTED_PROXY_CIDRS: "127.0.0.1/32",
      },
    }),
  );
  const { tlsUrl } = listeningIn(controller);
  const client = stack.use(Deno.createHttpClient({ caCerts: [caPem] }));
  const all = stack.move();
  return {
    url: controller.url,
    /** Sends a review as the API server does. */
    async judge(review: string, url: string = tlsUrl): Promise<number> {
      const headers = { "x-forwarded-for": "10.0.0.1" };
      const response = await fetch(url + PATH, { method: "POST", body: review, headers, client });
      await response.body?.cancel();
      return response.status;
    },
    /** Opens a connection from an address, and sends a head that announces `bytes`, and all of them but the last. */
    stall(address: string, bytes: number): Promise<TLSSocket> {
      const head = `POST ${PATH} HTTP/1.1\r\nhost: a\r\nx-forwarded-for: ${address}\r\n` +
        `content-length: ${bytes}\r\n\r\n`;
      return new Promise((resolve, reject) => {
        const { hostname, port } = new URL(tlsUrl);
        const socket: TLSSocket = connectTls({ host: hostname, port: Number(port), ca: caPem });
        socket.once("secureConnect", () => socket.write(head + " ".repeat(bytes - 1), () => resolve(socket)));
        socket.once("error", reject).on("error", () => {}).resume();
      });
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

function reviewOf(message: string): string {
  const object = { metadata: {}, spec: { message } };
  return JSON.stringify({
    apiVersion: "admission.k8s.io/v1",
    kind: "AdmissionReview",
    request: {
      uid: "u",
      operation: "UPDATE",
      userInfo: { username: "risk-owner" },
      resource: { group: "zen.kube-zen.io", version: "v1", resource: "observations" },
      object,
      oldObject: object,
    },
  });
}

const ATTACKS: Readonly<Record<string, { addresses: number; bytes: number; judged: readonly string[] }>> = {
  "large bodies of one stranger": { addresses: 1, bytes: 4 * MIB, judged: ["small", "large"] },
  "small bodies of one stranger": { addresses: 1, bytes: 64 * 1024, judged: ["small", "large"] },
  "large bodies of several strangers": { addresses: 8, bytes: 4 * MIB, judged: ["small"] },
};
const REVIEWS: Readonly<Record<string, string>> = { small: reviewOf("m"), large: reviewOf("m".repeat(MIB)) };
/** More than there is room for. */
const HELD = { [4 * MIB]: 8, [64 * 1024]: 100 };

Deno.test("the admission webhook answers on the TLS port alone", async () => {
  await using target = await startTarget();
  const review = reviewOf("m");
  assertEquals([await target.judge(review), await target.judge(review, target.url)], [200, 404]);
});

for (const [name, { addresses, bytes, judged }] of Object.entries(ATTACKS)) {
  Deno.test(`reviews are judged while ${name} do not end`, async () => {
    await using target = await startTarget();
    const count = HELD[bytes] ?? 0;
    const stalls = Array.from(
      { length: count },
      (_, index) => target.stall(`10.9.9.${index % addresses}`, bytes),
    );
    const held = await Promise.all(stalls);
    try {
      // A body that is held is refused after 4 s; what has no room is refused at once.
      const isOver = () => held.every(({ readableEnded, destroyed }) => readableEnded || destroyed);
      assert(!isOver(), "some are held");
      const answers: string[] = [];
      await eventually("all of them to be refused", async () => {
        for (const size of judged) answers.push(`${size} ${await target.judge(REVIEWS[size] ?? "")}`);
        return isOver();
      });
      assertEquals(new Set(answers), new Set(judged.map((size) => `${size} 200`)));
    } finally {
      for (const socket of held) socket.destroy();
    }
  });
}
