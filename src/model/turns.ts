/** Yields items so that every group has its turns: the first of each group, then the second of each, and so on. */
export function* inTurns<T>(items: Iterable<T>, groupOf: (item: T) => string): Generator<T> {
  let left = [...Map.groupBy(items, groupOf).values()];
  for (let turn = 0; left.length > 0; turn++) {
    for (const group of left) yield group[turn] as T;
    left = left.filter(({ length }) => length > turn + 1);
  }
}
