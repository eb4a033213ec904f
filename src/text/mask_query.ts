/** Command lines in addresses: `…/pods/db/exec?command=mysql&command=-pX`, as kubectl asks for them. */

const KEY = "command=";

/** A stretch of text. */
interface Range {
  readonly start: number;
  readonly end: number;
}

/** The arguments whose key `command=` ends at `start`, one after another. */
export function commandArguments(text: string, start: number): Range[] {
  const found: Range[] = [];
  let next = start;
  while (true) {
    let end = next;
    while (end < text.length && !"& \t\n\r\"'`#".includes(text[end] ?? " ")) end++;
    found.push({ start: next, end });
    if (!text.startsWith(`&${KEY}`, end)) return found;
    next = end + 1 + KEY.length;
  }
}

/** An argument as it was typed. */
export function decoded(argument: string): string {
  const spaced = argument.replaceAll("+", " ");
  try {
    return decodeURIComponent(spaced);
  } catch {
    return spaced; // no escapes, or broken ones
  }
}
