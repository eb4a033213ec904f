import { assertEquals, assertRejects } from "@std/assert";
import { CommandError, MAX_INPUT_BYTES, processIo, readAll } from "./io.ts";

async function folder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await Deno.makeTempDir();
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

Deno.test("processIo.readText() reads regular files alone, and says why it refuses others", async () => {
  await using dir = await folder();
  await Deno.writeTextFile(`${dir.path}/text`, "a: 1\n");
  await Deno.symlink("text", `${dir.path}/link`);
  assertEquals(await processIo.readText(`${dir.path}/link`), "a: 1\n");
  const fifo = new Deno.Command("mkfifo", { args: [`${dir.path}/pipe`] });
  assertEquals((await fifo.output()).code, 0);
  const large = await Deno.create(`${dir.path}/large`);
  await large.truncate(MAX_INPUT_BYTES + 1); // sparse
  large.close();
  const rows = [
    ["/dev/zero", "it is not a regular file. Pipe it in with -f -"],
    [`${dir.path}/pipe`, "it is not a regular file. Pipe it in with -f -"],
    [dir.path, "it is a folder. Name a file in it"],
    [`${dir.path}/large`, "it is larger than 256 MiB. Split it into smaller files"],
    [`${dir.path}/absent`, "there is no such file"],
  ];
  for (const [path = "", why] of rows) {
    await assertRejects(() => processIo.readText(path), CommandError, `Cannot read "${path}": ${why}`);
  }
});

Deno.test("readAll() stops at its limit, even if the stream does not end", async () => {
  let pulled = 0;
  const endless = new ReadableStream<Uint8Array>({
    pull(controller) {
      pulled++;
      controller.enqueue(new Uint8Array(1024));
    },
  });
  await assertRejects(() => readAll(endless, 64 * 1024), Error, "it is larger than");
  assertEquals(pulled <= 66, true, `${pulled} chunks`);
});

Deno.test("readAll() reads UTF-8 cut anywhere, and the UTF-16 of Windows PowerShell", async () => {
  const text = '{"a": "é😀"}';
  const utf8 = new TextEncoder().encode(`\ufeff${text}`);
  const bytewise = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const byte of utf8) controller.enqueue(new Uint8Array([byte]));
      controller.close();
    },
  });
  assertEquals(await readAll(bytewise), text);
  const utf16 = new Uint8Array(
    new Uint16Array([...`\ufeff${text}`].join("").split("").map((unit) => unit.charCodeAt(0))).buffer,
  );
  assertEquals(await readAll(new Blob([utf16]).stream()), text);
});

Deno.test("processIo.listFolder() lists files below a folder, without pipes, and ends where links lead in a circle", async () => {
  await using dir = await folder();
  await Deno.mkdir(`${dir.path}/inner`);
  await Deno.writeTextFile(`${dir.path}/inner/a.yaml`, "");
  await Deno.symlink("..", `${dir.path}/inner/up`);
  assertEquals((await new Deno.Command("mkfifo", { args: [`${dir.path}/pipe`] }).output()).code, 0);
  assertEquals(await processIo.listFolder(dir.path), [`${dir.path}/inner/a.yaml`, `${dir.path}/inner/up`]);
  assertEquals(await processIo.listFolder(`${dir.path}/inner/a.yaml`), undefined);
});
