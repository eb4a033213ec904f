/** What request bodies may take of the process's memory. */
import { createTextLimits, FULL_MEMORY_BYTES, type TextLimits } from "../pipeline/parts.ts";
import { ByteBudget } from "./body.ts";

/** Bounds of request bodies, shared by all endpoints. */
export interface BodyLimits extends TextLimits {
  /** Bodies of senders that proved who they are; those that did not count here too. */
  readonly proven: ByteBudget;
  /** Bodies of which nothing proves who sent them, or not yet. */
  readonly unproven: ByteBudget;
}

/** The share of the memory limit that all bodies may take together: 64 MiB at 512. */
const BODIES_SHARE = 1 / 8;

/** The bounds for bodies of up to `maxBytes` (WEBHOOK_MAX_BYTES) under a memory limit. */
export function createBodyLimits(
  limits: { readonly maxBytes: number; readonly memoryBytes: number },
): BodyLimits {
  const all = Math.min(limits.memoryBytes, FULL_MEMORY_BYTES) * BODIES_SHARE;
  const proven = new ByteBudget(all, { perSender: all / 2 });
  const unproven = new ByteBudget(all / 2, { perSender: all / 4, within: proven });
  return { ...createTextLimits(limits), proven, unproven };
}
