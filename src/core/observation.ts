import { z } from "zod";

export const GROUP = "zen.kube-zen.io";
export const VERSION = "v1";

export const CATEGORIES = ["security", "compliance", "operations", "performance", "cost"] as const;
export const SEVERITIES = ["CRITICAL", "HIGH", "MEDIUM", "LOW", "UNKNOWN"] as const;
export const PHASES = ["Active", "Resolved"] as const;

export type Category = typeof CATEGORIES[number];
export type Severity = typeof SEVERITIES[number];
export type Phase = typeof PHASES[number];

/** What is affected. */
export const resourceSchema = z.object({
  apiVersion: z.string().max(253).optional(),
  kind: z.string().max(63).optional(),
  name: z.string().max(253).optional(),
  namespace: z.string().max(63).optional(),
});
export type Resource = z.infer<typeof resourceSchema>;
