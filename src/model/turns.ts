/** Work in turns: of groups, and of long loops with the rest of the program. */

/** Yields items so that every group has its turns: the first of each group, then the second of each, and so on. */
export function* inTurns<T>(items: Iterable<T>, groupOf: (item: T) => string): Generator<T> {
  let left = [...Map.groupBy(items, groupOf).values()];
  for (let turn = 0; left.length > 0; turn++) {
    for (const group of left) yield group[turn] as T;
    left = left.filter(({ length }) => length > turn + 1);
  }
}

/** Runs steps to their end, without a pause. */
export function runSteps<T>(steps: Iterator<unknown, T>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

/** The same, with a pause after each step where one is due. */
export async function runStepsInSlices<T>(
  steps: Iterator<unknown, T>,
  slices: { pause(): Promise<void> | undefined },
): Promise<T> {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
    await slices.pause();
  }
}
