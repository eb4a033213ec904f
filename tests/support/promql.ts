/** What a PromQL expression names: enough of its grammar to check names against a program's metrics. */

/** A series selector. */
export interface Selector {
  readonly metric: string;
  readonly labels: readonly string[];
}

export interface Names {
  readonly selectors: readonly Selector[];
  /** Labels of `by`, `without`, `on`, `ignoring`, `group_left`. */
  readonly grouping: readonly string[];
}

const TOKEN = /"(?:[^"\\]|\\.)*"|\d[\da-zA-Z.]*|[a-zA-Z_:][a-zA-Z0-9_:]*|[{}()[\],=!~]|\S/g;
const GROUPING = new Set(["by", "without", "on", "ignoring", "group_left", "group_right"]);
const WORDS = new Set(["and", "or", "unless", "bool", "offset", "time", "inf", "nan", ...GROUPING]);

/** Names in an expression. A word before `(` is a function; a duration in brackets is no name. */
export function namesIn(expr: string): Names {
  const tokens: readonly string[] = expr.match(TOKEN) ?? [];
  const selectors: Selector[] = [];
  const grouping: string[] = [];
  for (let index = 0; index < tokens.length; index++) {
    const token = tokens[index] ?? "";
    if (token === "[") index = tokens.indexOf("]", index);
    else if (GROUPING.has(token)) {
      const end = tokens.indexOf(")", index);
      grouping.push(...tokens.slice(index + 2, end).filter((each) => each !== ","));
      index = end;
    } else if (/^[a-zA-Z_:]/.test(token) && !isCalled(tokens[index + 1]) && !WORDS.has(token)) {
      const end = tokens[index + 1] === "{" ? tokens.indexOf("}", index) : index;
      const inside = tokens.slice(index + 2, end);
      const labels = inside.filter((each, at) =>
        /^[a-zA-Z_]/.test(each) && /^[=!]$/.test(inside[at + 1] ?? "")
      );
      selectors.push({ metric: token, labels });
      index = end;
    }
  }
  return { selectors, grouping };
}

/** `rate(`, `sum by (`. */
function isCalled(next: string | undefined): boolean {
  return next === "(" || next === "by" || next === "without";
}
