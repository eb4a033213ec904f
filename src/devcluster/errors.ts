import type { JsonObject } from "../model/json.ts";

/** One reason why an object is refused, as in `details.causes` of a Status. */
export type Cause = { readonly reason: string; readonly message: string; readonly field: string };

/** What an error is about: an object of a resource, or the resource. */
export type About = { resource: { group: string; kind: string; plural: string }; name?: string | undefined };

/** An answer that is a failure: thrown anywhere in a request, sent as a `v1 Status`. */
export class StatusError extends Error {
  constructor(readonly code: number, readonly reason: string, text: string, readonly details?: JsonObject) {
    super(text);
  }

  /** The body as the API server writes it. */
  body(): JsonObject {
    const { reason, message, details, code } = this;
    const said = { ...(reason && { reason }), ...(details && { details }) };
    return { kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure", message, ...said, code };
  }
}

const FORMS = {
  NotFound: [404, "% not found"],
  AlreadyExists: [409, "% already exists"],
  Conflict: [409, "Operation cannot be fulfilled on %: "],
  Forbidden: [403, "% is forbidden: "],
  Invalid: [422, "% is invalid: "],
} as const;

/** A failure that names what it is about: the kind where it is invalid, else the plural. */
export function failure(
  reason: keyof typeof FORMS,
  { resource: { group, kind: singular, plural }, name }: About,
  { why = "", causes = [] }: { why?: string; causes?: Cause[] } = {},
): StatusError {
  const [code, form] = FORMS[reason];
  const kind = reason === "Invalid" ? singular : plural;
  const subject = (group ? `${kind}.${group}` : kind) + (name === undefined ? "" : ` "${name}"`);
  const listed = causes.length > 0 && { causes };
  const details = { ...(name && { name }), ...(group && { group }), kind, ...listed };
  return new StatusError(code, reason, form.replace("%", () => subject) + why, details);
}

/** 422 with its causes. */
export function invalid(about: About, causes: Cause[]): StatusError {
  const lines = causes.map(({ field, message }) => `${field}: ${message}`);
  return failure("Invalid", about, { why: lines.length === 1 ? lines[0]! : `[${lines.join(", ")}]`, causes });
}

/** A cause; `reason` without the `FieldValue` they all begin with. */
export function cause(reason: string, field: string, message: string): Cause {
  return { reason: `FieldValue${reason}`, message, field };
}

/** The cause of a value that is not allowed. */
export function refused(field: string, value: unknown, why: string): Cause {
  return cause("Invalid", field, `Invalid value: ${JSON.stringify(value)}: ${why}`);
}

/** 400. */
export function badRequest(message: string): StatusError {
  return new StatusError(400, "BadRequest", message);
}
