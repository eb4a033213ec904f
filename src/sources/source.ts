import type { Drawn, Payload, SourceKind } from "../model/event.ts";
import type { Category, Severity } from "../model/observation.ts";
import type { ResourceType } from "../kube/api.ts";

/** Reports read from the API server by list and watch. Types that are not served are simply absent. */
export interface InformerInput {
  readonly type: "informer";
  /** One alternative set each: the first served version of a group and plural is watched. */
  readonly resources: readonly ResourceType[];
}

/** Events pushed to us by HTTP. */
export interface WebhookInput {
  readonly type: "webhook";
  readonly path: string;
}

/** Results kept in labelled ConfigMaps. */
export interface ConfigMapInput {
  readonly type: "configmap";
  /** Where, unless the environment variable says otherwise. */
  readonly namespace: string;
  readonly namespaceEnv: string;
  readonly labelSelector: string;
  readonly key: string;
}

/** A document the generator draws from, beyond the payload itself. */
export interface DrawContext {
  /** Username of zen-watcher at the API server, "" while unknown (audit's own_write). */
  readonly ownUser: string;
}

/** A source: data, and a pure generator. See docs/adding-a-source.md. */
export interface SourceDefinition {
  readonly name: string;
  readonly kind: SourceKind;
  readonly input: InformerInput | WebhookInput | ConfigMapInput;
  /** Every category its events can have: their counters stand at 0 before the first of them. */
  readonly categories: readonly Category[];
  /** One line for the README table. */
  readonly summary: string;
  /** Event type → identity fields, for the generated table; `source` and `severity` are always part. */
  readonly identity: Readonly<Record<string, readonly string[]>>;
  /** Event types a resource (by plural) may report, where it is not all of them: what one cannot see, another need not wait for. */
  readonly reports?: Readonly<Record<string, readonly string[]>>;
  /** Keys of details that flap without meaning. */
  readonly volatileDetails?: readonly string[];
  readonly severityMap?: Readonly<Record<string, Severity>>;
  /** "life": the window is the Observation's life and a repeat adds nothing (audit). */
  readonly window?: "life";
  /** What to tell a sender whose body is no JSON. */
  readonly unreadableHint?: string;
  /** Draws every event of a payload, in order. Pure; yields an error for what cannot be read and goes on; never throws. */
  toEvents(payload: Payload, context: DrawContext): Iterable<Drawn>;
}

/** Types a source definition. */
export function defineSource(definition: SourceDefinition): SourceDefinition {
  return definition;
}
