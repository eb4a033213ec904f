/** The options of the ObservationFilter's CRD. */
import * as z from "zod";
import { conditionSchema } from "../model/condition_schema.ts";
import { type CrdOptions, readyPath } from "../model/crd.ts";
import { dropsShape } from "./drops_schema.ts";
import { filterBlockShape, targetSourceRule } from "./schema.ts";

/** `status` of an ObservationFilter. */
const statusSchema = z.object({
  conditions: z.array(conditionSchema).optional().describe(
    "Ready: whether this spec is in force, and why not",
  ),
  ...dropsShape,
  inForce: z.object({ generation: z.int(), spec: z.looseObject({}) }).optional()
    .describe("The last good spec, while the spec has a mistake"),
}).describe("Its state, written by zen-watcher alone");

/**
 * Unknown keys are kept, not pruned, so that zen-watcher refuses the spec and names the key. If a misspelt key were pruned,
 * the filter would work without it. The API server refuses bad values of known keys when the object is applied.
 */
const specSchema = z.looseObject({
  targetSource: z.string().min(1).max(63).meta(targetSourceRule).describe(
    "The source it acts on, or * for all",
  ),
  ...filterBlockShape,
}).describe("One filter: an event passes if every filter that applies to it passes it");

/** The CRD of ObservationFilter. */
export const OBSERVATION_FILTER_CRD: CrdOptions = {
  kind: "ObservationFilter",
  plural: "observationfilters",
  version: "v1alpha1",
  description: "Says which events are stored as Observations",
  schema: { spec: specSchema, status: statusSchema },
  columns: [
    { name: "Source", path: ".spec.targetSource", type: "string" },
    { name: "Mode", path: ".spec.mode", type: "string" },
    { name: "Ready", path: readyPath("status"), type: "string" },
    { name: "Dropped", path: ".status.dropped", type: "integer" },
    { name: "Reason", path: readyPath("reason"), type: "string" },
    { name: "Would drop", path: ".status.wouldDrop.lastDay", type: "integer", wide: true },
    { name: "Age", path: ".metadata.creationTimestamp", type: "date" },
    {
      name: "Message",
      path: readyPath("message"),
      type: "string",
      wide: true,
    },
  ],
};
