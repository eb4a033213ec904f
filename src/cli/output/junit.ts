/** JUnit's XML, which CI systems read. */

/** One case that ran. */
export interface JunitCase {
  readonly file: string;
  readonly name: string;
  readonly failures: readonly string[];
}

/** The cases as one suite per file. */
export function renderJunit(cases: readonly JunitCase[]): string {
  const suites = [...Map.groupBy(cases, ({ file }) => file)].map(([file, inFile]) => {
    const tests = inFile.map(({ name, failures }) => {
      const open = `    <testcase classname=${attribute(file)} name=${attribute(name)}`;
      if (failures.length === 0) return `${open}/>\n`;
      const message = attribute(failures[0] ?? "");
      return `${open}>\n      <failure message=${message}>${
        escape(failures.join("\n"))
      }</failure>\n    </testcase>\n`;
    });
    return `  <testsuite name=${attribute(file)} ${counts(inFile)}>\n${tests.join("")}  </testsuite>\n`;
  });
  return `<?xml version="1.0" encoding="UTF-8"?>\n<testsuites ${counts(cases)}>\n${
    suites.join("")
  }</testsuites>\n`;
}

function counts(cases: readonly JunitCase[]): string {
  const failed = cases.filter(({ failures }) => failures.length > 0).length;
  return `tests="${cases.length}" failures="${failed}"`;
}

function attribute(text: string): string {
  return `"${escape(text).replaceAll('"', "&quot;").replaceAll("\n", "&#10;")}"`;
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
