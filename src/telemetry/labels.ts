/** Label values that are users' words (a source, a path): bounded, since each is a series for as long as the process lives. */

/** The label value for all values beyond the bound. */
export const OTHER = "other";

const MAX_VALUES = 100;

/** Keeps the first 100 different values as they are; the rest become `other`. */
export function labelCap(max: number = MAX_VALUES): (value: string) => string {
  const kept = new Set<string>();
  return (value) => {
    if (kept.has(value)) return value;
    if (kept.size >= max) return OTHER;
    kept.add(value);
    return value;
  };
}
