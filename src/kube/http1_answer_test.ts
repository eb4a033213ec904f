import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { NetworkError } from "./api.ts";
import { type Http1Answer, Inbox, readAnswer } from "./http1_answer.ts";

const encoder = new TextEncoder();

/** Bytes that arrive in pieces, cut where `cuts` says; then the peer hangs up. */
function arriving(text: string, cuts: readonly number[] = []): Inbox {
  const bytes = encoder.encode(text);
  const ends = [...new Set([...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length])].sort((a, b) =>
    a - b
  );
  let at = 0;
  return new Inbox({
    read(into) {
      while (ends[0] !== undefined && ends[0] <= at) ends.shift();
      const end = ends[0];
      if (end === undefined) return Promise.resolve(null);
      const piece = bytes.subarray(at, Math.min(end, at + into.length));
      into.set(piece);
      at += piece.length;
      return Promise.resolve(piece.length);
    },
  });
}

const read = (text: string, maxBytes = 1_000_000) => readAnswer(arriving(text), maxBytes);
const textOf = ({ body }: Http1Answer) => new TextDecoder().decode(body);

const ANSWERS: readonly { name: string; sent: string; status: number; body: string; keepAlive: boolean }[] = [
  {
    name: "an announced length",
    sent: 'HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n{"ä":1}',
    status: 201,
    body: '{"ä":1}',
    keepAlive: true,
  },
  {
    name: "no reason phrase",
    sent: "HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n",
    status: 200,
    body: "",
    keepAlive: true,
  },
  {
    name: "chunks, with an extension and trailers",
    sent:
      "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;a=b\r\nabc\r\nA\r\n0123456789\r\n0\r\nx: y\r\n\r\n",
    status: 200,
    body: "abc0123456789",
    keepAlive: true,
  },
  {
    name: "an interim answer before the answer",
    sent: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 409 Conflict\r\ncontent-length: 2\r\n\r\n{}",
    status: 409,
    body: "{}",
    keepAlive: true,
  },
  {
    name: "no content",
    sent: "HTTP/1.1 204 No Content\r\ncontent-length: 99\r\n\r\n",
    status: 204,
    body: "",
    keepAlive: true,
  },
  {
    name: "a body up to the end",
    sent: "HTTP/1.1 503 Service Unavailable\r\n\r\nstarting",
    status: 503,
    body: "starting",
    keepAlive: false,
  },
  {
    name: "a server that will hang up",
    sent: "HTTP/1.1 200 OK\r\nConnection: Close\r\ncontent-length: 1\r\n\r\nx",
    status: 200,
    body: "x",
    keepAlive: false,
  },
  {
    name: "a server that says so in its second header of that name",
    sent: "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nConnection: close\r\ncontent-length: 1\r\n\r\nx",
    status: 200,
    body: "x",
    keepAlive: false,
  },
  {
    name: "an error whose body is cut off",
    sent: "HTTP/1.1 422 Unprocessable Entity\r\ncontent-length: 100\r\n\r\n{",
    status: 422,
    body: "",
    keepAlive: false,
  },
  {
    name: "an error whose page is too long",
    sent: `HTTP/1.1 502 Bad Gateway\r\ncontent-length: 70000\r\n\r\n${"x".repeat(70_000)}`,
    status: 502,
    body: "",
    keepAlive: false,
  },
  {
    name: "HTTP/1.0",
    sent: "HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nx",
    status: 200,
    body: "x",
    keepAlive: false,
  },
  {
    name: "more than was announced",
    sent: "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nxHTTP/1.1 200",
    status: 200,
    body: "x",
    keepAlive: false,
  },
];

for (const { name, sent, status, body, keepAlive } of ANSWERS) {
  Deno.test(`readAnswer() reads ${name}, however it arrives`, async () => {
    const whole = await read(sent);
    assertEquals([whole.status, textOf(whole), whole.keepAlive], [status, body, keepAlive]);
    await fc.assert(fc.asyncProperty(fc.array(fc.nat(400), { maxLength: 30 }), async (cuts) => {
      const answer = await readAnswer(arriving(sent, cuts), 1_000_000);
      assertEquals([answer.status, textOf(answer)], [status, body]);
    }));
  });
}

Deno.test("readAnswer() gives header names in lower case, values without the space around them", async () => {
  const { headers } = await read(
    "HTTP/1.1 429 Too\r\nRetry-After:  7 \r\nX-Y:a:b\r\ncontent-length: 0\r\n\r\n",
  );
  assertEquals(headers, [["retry-after", "7"], ["x-y", "a:b"], ["content-length", "0"]]);
});

Deno.test("readAnswer() reads one answer after the other from one socket, long and short ones", async () => {
  const bodies = [10, 100_000, 0, 20_000, 5].map((letters) => "é".repeat(letters));
  const answers = bodies.map((body) =>
    `HTTP/1.1 200 OK\r\ncontent-length: ${encoder.encode(body).length}\r\n\r\n${body}`
  );
  const inbox = arriving(answers.join(""));
  for (const body of bodies) assertEquals(textOf(await readAnswer(inbox, 1_000_000)), body);
});

const REFUSED: readonly { name: string; sent: string; fault: string; says: string }[] = [
  { name: "nothing", sent: "", fault: "unreachable", says: "closed before the answer was complete" },
  { name: "half a head", sent: "HTTP/1.1 200 OK\r\nco", fault: "unreachable", says: "closed before" },
  {
    name: "half a body",
    sent: "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab",
    fault: "unreachable",
    says: "closed before",
  },
  {
    name: "chunks without a last one",
    sent: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n",
    fault: "unreachable",
    says: "closed before",
  },
  { name: "TLS where none was spoken", sent: "\x15\x03\x01\r\n\r\n", fault: "garbled", says: "first line" },
  { name: "no header", sent: "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", fault: "garbled", says: "colon" },
  {
    name: "a length of its own kind",
    sent: "HTTP/1.1 200 OK\r\ncontent-length: 0x5\r\n\r\n",
    fault: "garbled",
    says: 'a length of "0x5"',
  },
  {
    name: "two lengths",
    sent: "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    fault: "garbled",
    says: "a length",
  },
  {
    name: "another coding",
    sent: "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
    fault: "garbled",
    says: "transfer coding",
  },
  {
    name: "a chunk longer than it says",
    sent: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
    fault: "garbled",
    says: "over its size",
  },
  {
    name: "a body over the bound",
    sent: "HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n",
    fault: "too_large",
    says: "over 1000 bytes",
  },
  {
    name: "chunks over the bound",
    sent: `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3e9\r\n`,
    fault: "too_large",
    says: "over 1000 bytes",
  },
  {
    name: "a body without end over the bound",
    sent: `HTTP/1.1 200 OK\r\n\r\n${"x".repeat(1_001)}`,
    fault: "too_large",
    says: "over 1000 bytes",
  },
  {
    name: "a head over its bound",
    sent: `HTTP/1.1 200 OK\r\nx: ${"y".repeat(70_000)}`,
    fault: "garbled",
    says: "over 65536 bytes",
  },
];

for (const { name, sent, fault, says } of REFUSED) {
  Deno.test(`readAnswer() refuses ${name}`, async () => {
    const error = await assertRejects(() => read(sent, 1_000), NetworkError);
    assertEquals(error.fault, fault);
    assert(error.message.includes(says), error.message);
  });
}
