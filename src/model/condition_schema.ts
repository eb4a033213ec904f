/** A condition as Kubernetes has it in the status of an object. */
import * as z from "zod";

/** One condition; ours is `Ready`. */
export const conditionSchema = z.object({
  type: z.string(),
  status: z.enum(["True", "False", "Unknown"]),
  reason: z.string(),
  message: z.string(),
  observedGeneration: z.int().optional(),
  lastTransitionTime: z.string().meta({ format: "date-time" }),
});
