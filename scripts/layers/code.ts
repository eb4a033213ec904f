/** A source text less its comments and strings, so that a word in a sentence is no use of it. */
export function codeOf(text: string): string {
  let code = "";
  let index = 0;
  while (index < text.length) {
    const end = afterToken(text, index);
    if (end > index) {
      code += " ";
      index = end;
    } else code += text[index++];
  }
  return code;
}

/** The index after the comment or string that starts here; `start` where none does. */
function afterToken(text: string, start: number): number {
  const two = text.slice(start, start + 2);
  if (two === "//") return indexAfter(text, "\n", start);
  if (two === "/*") return indexAfter(text, "*/", start + 2);
  const quote = text[start] ?? "";
  return quote === '"' || quote === "'" || quote === "`" ? afterString(text, start, quote) : start;
}

/** Only templates go over lines: a quote inside a regular expression spoils no more than its own line. */
function afterString(text: string, start: number, quote: string): number {
  for (let index = start + 1; index < text.length; index++) {
    if (text[index] === "\\") index++;
    else if (text[index] === quote) return index + 1;
    else if (text[index] === "\n" && quote !== "`") return index;
  }
  return text.length;
}

function indexAfter(text: string, what: string, start: number): number {
  const found = text.indexOf(what, start);
  return found < 0 ? text.length : found + what.length;
}
