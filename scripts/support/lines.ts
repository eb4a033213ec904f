/** The lines of a stream, without their ends; however long a line is, it is put together once. */
export async function* linesOf(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
): AsyncGenerator<string, void> {
  const parts: string[] = [];
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const [first = "", ...more] = text.split("\n");
    parts.push(first);
    for (const next of more) {
      yield parts.splice(0).join("");
      parts.push(next);
    }
  }
  const last = parts.join("");
  if (last !== "") yield last;
}
