/** The schema of dropped events in a status, for the CRDs. */
import * as z from "zod";
import { MAX_DROPS } from "./drops.ts";

const time = () => z.string().meta({ format: "date-time" });

const drops = () =>
  z.array(z.object({
    time: time(),
    source: z.string(),
    severity: z.string(),
    rule: z.string().optional(),
    namespace: z.string().optional(),
    resource: z.string().optional(),
    reason: z.string(),
  })).max(MAX_DROPS);

/** Fields of a status. */
export const dropsShape = {
  dropped: z.int().min(0).optional().describe("Events that it left out"),
  lastDrops: drops().optional().describe("The last different events that it left out, newest first"),
  wouldDrop: z.object({
    lastDay: z.int().min(0).describe("Events of the last day"),
    hours: z.array(z.object({ hour: time(), count: z.int().min(0) })).max(25).describe("The same by hour"),
    samples: drops().describe("The last different ones, newest first"),
  }).optional().describe("What it would leave out if its mode were Enforce"),
};
