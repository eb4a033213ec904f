import type { Json } from "../model/json.ts";
import type { PayloadError } from "../model/outcome.ts";
import { parseJsonDocuments } from "./parse_json.ts";

const MAX_DOCUMENTS = 10_000;

/** The text of a payload, read: its documents, and an error for each part that is none. */
export interface Documents {
  readonly documents: readonly Json[];
  readonly errors: readonly PayloadError[];
}

/** Reads one document, NDJSON, or documents one after another. */
export function readDocuments(text: string): Documents {
  const documents: Json[] = [];
  const errors: PayloadError[] = [];
  for (const parsed of parseJsonDocuments(text)) {
    if (parsed.ok) documents.push(parsed.value);
    else {
      const { reason, message, line, column } = parsed.error;
      errors.push({ reason, path: `line ${line}, column ${column}`, message });
    }
    if (documents.length + errors.length > MAX_DOCUMENTS) {
      const message = `more than ${MAX_DOCUMENTS} documents, the rest is not taken`;
      errors.push({ reason: "too_many_events", path: "", message });
      break;
    }
  }
  return { documents, errors };
}

/** A request that holds no document. */
export const EMPTY_BODY: PayloadError = { reason: "unreadable", path: "", message: "it is empty" };

/** The body of a payload: its one document, or all of them as an array. */
export function bodyOf({ documents }: Documents): Json | undefined {
  return documents.length > 1 ? [...documents] : documents[0];
}

/** The body of a request, as webhooks take it; undefined for no document and for an empty list, which hold no event. */
export function requestBodyOf(documents: Documents): Json | undefined {
  const body = bodyOf(documents);
  return Array.isArray(body) && body.length === 0 ? undefined : body;
}
