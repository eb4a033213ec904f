/** Reads results from one key of labelled ConfigMaps, by a watch on `configmaps` of one namespace. */
import type { Json } from "../../model/json.ts";
import type { PayloadError } from "../../model/outcome.ts";
import type { KubeObject } from "../../kube/api.ts";
import type { TextLimits, TimeSlices } from "../../pipeline/limits.ts";
import { payloadErrorsOf, scanJsonInTurns, wholeOf } from "../../text/json.ts";
import { keyBytes, logLinesEnd } from "../config_maps.ts";
import type { ReadDocument } from "./evaluator.ts";
import { originOf } from "./watch.ts";

export interface ConfigMapPayloadOptions {
  readonly key: string;
  readonly receivedAt: number;
  readonly limits: TextLimits;
  readonly slices: TimeSlices;
  /** Aborts the wait for memory; the text is then not read. */
  readonly signal: AbortSignal;
  /** Called for a key that is missing or not JSON, to count it. Such a ConfigMap resolves no finding. */
  readonly onError: (error: PayloadError) => void;
}

/** Reads the payload of a ConfigMap; undefined if it cannot be read. */
export async function configMapPayload(
  object: KubeObject,
  options: ConfigMapPayloadOptions,
): Promise<ReadDocument | undefined> {
  const { key, receivedAt, limits: { maxBytes, maxValues, room }, slices, signal, onError } = options;
  const found = keyBytes(object as unknown as Json, { key, maxBytes });
  const path = `${found.field}.${key}`;
  if (!found.ok) {
    onError({ reason: found.reason, path, message: found.message });
    return undefined;
  }
  const { bytes } = found;
  const turn = () => slices.turn();
  const text = await scanJsonInTurns(bytes, { from: logLinesEnd(bytes), maxValues, turn });
  const errors = payloadErrorsOf(text);
  for (const error of errors) {
    await slices.turn();
    onError({ ...error, path: `${path} ${error.path}`.trimEnd() });
  }
  const last = text.parts.at(-1);
  const share = last && await room.take({ bytes: bytes.length, values: last.values }, signal);
  const body = share && wholeOf(text);
  if (share === undefined || body === undefined) return undefined;
  const payload = { body, origin: originOf(object, { confined: false }), receivedAt };
  return { payload, readable: errors.length === 0, share };
}
