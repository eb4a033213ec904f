/** The Observation's types, which come from its schema, and its words and limits. */
import type * as z from "zod";
import type { resourceSchema, specSchema, statusSchema } from "./observation_schema.ts";

export * from "./terms.ts";

/** The affected resource. */
export type Resource = z.infer<typeof resourceSchema>;
/** `spec`: the finding or event. */
export type ObservationSpec = z.infer<typeof specSchema>;
/** `status` as stored: every field may be absent in an object of an older version. */
export type ObservationStatus = z.input<typeof statusSchema>;

/** `metadata` of an Observation. */
export type ObservationMeta = {
  readonly name?: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly generation?: number;
  readonly creationTimestamp?: string;
  readonly deletionTimestamp?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly [field: string]: unknown;
};

/** An Observation as it is written and read. */
export type Observation = {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata: ObservationMeta;
  readonly spec: ObservationSpec;
  readonly status?: ObservationStatus;
};
