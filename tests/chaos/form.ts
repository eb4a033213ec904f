/** How long the chaos suite is: `ZEN_CHAOS=short` is for every change, the long form for a release. */
export const SHORT = Deno.env.get("ZEN_CHAOS") === "short";

/** The one or the other. */
export function inForm<T>({ short, long }: { readonly short: T; readonly long: T }): T {
  return SHORT ? short : long;
}

/** Prints a line between those of the test runner. */
export function printLine(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`    ${text.trimEnd().replaceAll("\n", "\n    ")}\n`));
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));
}
