/**
 * What is used of prom-client, by itself: its front door also loads clustering, the push gateway and default metrics,
 * and with them Node's HTTP stack, 5 MiB of resident memory that nothing here uses.
 */
import type * as promClient from "prom-client";
import counter from "prom-client/lib/counter.js";
import gauge from "prom-client/lib/gauge.js";
import histogram from "prom-client/lib/histogram.js";
import registry from "prom-client/lib/registry.js";

/** A value that only grows. */
export const Counter: typeof promClient.Counter = counter;
export type Counter<L extends string = string> = promClient.Counter<L>;
/** A value that goes up and down. */
export const Gauge: typeof promClient.Gauge = gauge;
export type Gauge<L extends string = string> = promClient.Gauge<L>;
/** Counts observed values by buckets. */
export const Histogram: typeof promClient.Histogram = histogram;
export type Histogram<L extends string = string> = promClient.Histogram<L>;
/** The metrics of one program. */
export const Registry: typeof promClient.Registry = registry;
export type Registry = promClient.Registry;
