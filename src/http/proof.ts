/** Whether a sender shows what its endpoint asks for. */
import type { Context } from "hono";
import type { FeedAuth } from "../sources/source.ts";
import { bearerToken, sameSecret } from "./auth.ts";
import { Refusal } from "./problem.ts";

interface Shown {
  readonly auth: FeedAuth;
  /** In the path. */
  readonly token: string | undefined;
  /** It showed a certificate of the clients' CA. */
  readonly clientVerified?: boolean;
  readonly options: {
    readonly token: () => string;
    readonly clientCertificates: boolean;
  };
}

/** Checks the token or the certificate that the endpoint requires. True where the sender proved itself by it. */
export function checkProof(c: Context, { clientVerified, auth, token, options }: Shown): boolean {
  const expected = auth.type === "default" ? options.token() : auth.type === "bearer" ? auth.secret() : "";
  if (expected === undefined) throw missingSecret();
  const given = token ?? bearerToken(c.req.header("authorization"));
  const isCertified = clientVerified === true && auth.type === "default";
  if (expected !== "" && !isCertified && (given === undefined || !sameSecret(given, expected))) {
    throw new Refusal(
      401,
      "Cannot take this request: it shows no valid token (bearer, or last path segment)",
      {
        "www-authenticate": "Bearer",
      },
    );
  }
  if (expected === "" && auth.type === "default" && options.clientCertificates && !isCertified) {
    throw new Refusal(
      401,
      "Cannot take this request: it shows no client certificate (TLS port, TLS_CLIENT_CA_FILE), and no token is set",
    );
  }
  if (expected === "" && token !== undefined && auth.type !== "default") {
    throw new Refusal(404, "Cannot find this path");
  }
  return expected !== "" || isCertified;
}

/** Nobody can be let in by it. */
export function missingSecret(): Refusal {
  return new Refusal(503, "Cannot check this request: the endpoint's Secret is missing or has no key token", {
    "retry-after": "30",
  });
}
