import type { JsonObject } from "../core/json.ts";

/** One reason why an object is refused, as in `details.causes` of a Status. */
export interface Cause {
  readonly reason: string;
  readonly message: string;
  readonly field: string;
}

/** What a resource is called in an error: the plural in most, the kind in those of validation. */
export interface Named {
  readonly group: string;
  readonly kind: string;
  readonly name?: string;
}

/** An answer that is a failure: thrown anywhere in a request, sent as a `v1 Status`. */
export class StatusError extends Error {
  override readonly name = "StatusError";

  constructor(
    readonly code: number,
    readonly reason: string,
    message: string,
    readonly details?: JsonObject,
  ) {
    super(message);
  }

  /** The body as the API server writes it. */
  body(): JsonObject {
    return {
      kind: "Status",
      apiVersion: "v1",
      metadata: {},
      status: "Failure",
      message: this.message,
      ...(this.reason ? { reason: this.reason } : {}),
      ...(this.details ? { details: this.details } : {}),
      code: this.code,
    };
  }
}

/** 400. */
export function badRequest(message: string): StatusError {
  return new StatusError(400, "BadRequest", message);
}

/** 404 for an object. */
export function notFound(what: Named): StatusError {
  return new StatusError(404, "NotFound", `${qualified(what)} "${what.name}" not found`, details(what));
}

/** 404 for a path under a known group that serves nothing. */
export function noSuchResource(): StatusError {
  return new StatusError(404, "NotFound", "the server could not find the requested resource", {});
}

/** 405. */
export function methodNotAllowed(): StatusError {
  const message = "the server does not allow this method on the requested resource";
  return new StatusError(405, "MethodNotAllowed", message, {});
}

/** 409 for a name that is taken. */
export function alreadyExists(what: Named): StatusError {
  return new StatusError(
    409,
    "AlreadyExists",
    `${qualified(what)} "${what.name}" already exists`,
    details(what),
  );
}

/** 409 for a write based on another version of the object. */
export function conflict(what: Named, why: string): StatusError {
  const message = `Operation cannot be fulfilled on ${qualified(what)} "${what.name}": ${why}`;
  return new StatusError(409, "Conflict", message, details(what));
}

/** 403. */
export function forbidden(what: Named, why: string, causes: readonly Cause[] = []): StatusError {
  const body = details(what);
  if (causes.length > 0) body.causes = causes.map((cause) => ({ ...cause }));
  const name = what.name === undefined ? "" : ` "${what.name}"`;
  return new StatusError(403, "Forbidden", `${qualified(what)}${name} is forbidden: ${why}`, body);
}

/** 410 for a revision whose history is compacted away. */
export function expired(message: string): StatusError {
  return new StatusError(410, "Expired", message);
}

/** 415. */
export function unsupportedMediaType(accepted: string): StatusError {
  const message =
    `the body of the request was in an unknown format - accepted media types include: ${accepted}`;
  return new StatusError(415, "UnsupportedMediaType", message);
}

/** 422 with its causes. */
export function invalid(what: Named, causes: readonly Cause[]): StatusError {
  const lines = causes.map((cause) => `${cause.field}: ${cause.message}`);
  const text = lines.length === 1 ? lines[0] : `[${lines.join(", ")}]`;
  return new StatusError(422, "Invalid", `${qualified(what)} "${what.name ?? ""}" is invalid: ${text}`, {
    ...details(what),
    causes: causes.map((cause) => ({ ...cause })),
  });
}

function qualified(what: Named): string {
  return what.group ? `${what.kind}.${what.group}` : what.kind;
}

function details(what: Named): JsonObject {
  return {
    ...(what.name ? { name: what.name } : {}),
    ...(what.group ? { group: what.group } : {}),
    kind: what.kind,
  };
}
