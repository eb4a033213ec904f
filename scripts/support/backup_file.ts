/** Reads the objects of a backup: one JSON object a line, or one List. */
import { isObject, type Json } from "../../src/model/json.ts";
import type { KubeObject } from "../../src/kube/api.ts";
import { errorMessage } from "../../src/model/error_message.ts";
import { linesOf } from "./lines.ts";

/** Every object of the file, one at a time: a backup of one object a line is never in memory as a whole. */
export async function* readBackup(path: string): AsyncGenerator<KubeObject> {
  using file = await Deno.open(path).catch((error) => {
    throw new Error(`Cannot read backup "${path}": ${errorMessage(error)}`);
  });
  const bytes = path.endsWith(".gz")
    ? file.readable.pipeThrough(new DecompressionStream("gzip"))
    : file.readable;
  let number = 0;
  let rest: string | undefined;
  for await (const line of linesOf(bytes)) {
    number++;
    if (rest !== undefined) rest += `${line}\n`;
    else if (line.trim() !== "") {
      const value = parsed(line);
      // The first line of what kubectl prints is a lone brace.
      if (value === undefined && number === 1) rest = `${line}\n`;
      else yield* objectsOf(value, `${path}:${number}`);
    }
  }
  if (rest !== undefined) yield* objectsOf(parsed(rest), path);
}

function* objectsOf(value: Json | undefined, where: string): Generator<KubeObject> {
  if (isObject(value) && Array.isArray(value.items)) {
    for (const [index, item] of value.items.entries()) yield* objectsOf(item, `${where} items[${index}]`);
    return;
  }
  if (!isObject(value) || !isObject(value.metadata)) {
    throw new Error(`Cannot read backup "${where}": expected a Kubernetes object as JSON`);
  }
  yield { ...value, metadata: value.metadata as KubeObject["metadata"] };
}

function parsed(text: string): Json | undefined {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
