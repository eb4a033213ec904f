/** Small steps over a command line, each forward and bounded. */

const NAME_MAX = 64;

/** The name that ends just before `end`, and whether it is the start of a word (a flag, a variable). */
export function identifierBefore(
  text: string,
  end: number,
  floor: number,
): { readonly name: string; readonly startsWord: boolean } {
  let start = end;
  const lowest = Math.max(floor, end - NAME_MAX);
  while (start > lowest && isNameCode(text.charCodeAt(start - 1))) start--;
  const before = start === 0 ? " " : text[start - 1] ?? " ";
  return { name: text.slice(start, end), startsWord: isSpace(before) || isQuote(before) };
}

/** The index after the word at `start`: up to white space or a quote. */
export function afterWord(text: string, start: number): number {
  let end = start;
  while (end < text.length && !isSpace(text[end] ?? "") && !isQuote(text[end])) end++;
  return end;
}

/** The index after the list item at `start`: up to white space, a quote or what separates items. */
export function afterIdentifier(text: string, start: number, limit = Infinity): number {
  let end = start;
  const last = Math.min(text.length, start + limit);
  while (end < last && !" \t\n\r&;,\"'`)}]|<>\\".includes(text[end] ?? " ")) end++;
  return end;
}

/** The index of the quote that closes the one at `open`; where none does, the end of the word. */
export function quotedEnd(text: string, open: number, escaped: boolean): number {
  const quote = text[open] ?? '"';
  if (escaped) {
    const end = text.indexOf(`\\${quote}`, open + 1);
    return end < 0 ? afterWord(text, open + 1) : end;
  }
  for (let index = open + 1; index < text.length; index++) {
    if (text[index] === "\\") index++;
    else if (text[index] === quote) return index;
  }
  return afterWord(text, open + 1);
}

/** The index of the next character that is no space. */
export function afterSpaces(text: string, start: number): number {
  let index = start;
  while (index < text.length && isSpace(text[index] ?? "")) index++;
  return index;
}

/** The index after what is before `end` and its spaces; a few, as people align settings. */
export function beforeSpaces(text: string, end: number): number {
  let index = end;
  while (index > 0 && end - index < 16 && isSpace(text[index - 1] ?? "")) index--;
  return index;
}

/** True where a token may start: the character before is no letter, digit, dash or underscore. */
export function isBoundary(text: string, index: number): boolean {
  if (index === 0) return true;
  const code = text.charCodeAt(index - 1);
  return !isAlphanumericCode(code) && code !== 45 && code !== 95;
}

export function isSpace(char: string): boolean {
  return char === " " || char === "\t" || char === "\n" || char === "\r";
}

export function isQuote(char: string | undefined): boolean {
  return char === '"' || char === "'" || char === "`";
}

export function isAlphanumericCode(code: number): boolean {
  return (code >= 48 && code <= 57) || (code >= 65 && code <= 90) || (code >= 97 && code <= 122);
}

/** Letters, digits, `-`, `.`, `_`: what names of flags, variables, headers and keys are made of. */
export function isNameCode(code: number): boolean {
  return isAlphanumericCode(code) || code === 45 || code === 46 || code === 95;
}
