/** Tokens that senders show in a header or as the last segment of a path. */

/** Longer ones are not found in a header. */
const MAX_LENGTH = 4_096;

/** Why no sender can show this token; undefined where one can. White space around it is no part of it: trim it first. */
export function tokenFault(token: string): string | undefined {
  if (token === "") return "it is empty";
  if (/\s/.test(token)) return "it has white space inside";
  return token.length > MAX_LENGTH ? `it is longer than ${MAX_LENGTH} characters` : undefined;
}
