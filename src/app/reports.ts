/** What the program says of itself. */
import type { Settings } from "../settings.ts";
import type { SourceStates } from "../sources/status.ts";
import { logger } from "../telemetry/logging.ts";
import { type Account, type Books } from "../telemetry/accounting.ts";

const log = logger("app");
const NO_EVENTS: Account = { events: 0, created: 0, deduped: 0, filtered: 0, failed: 0, inFlight: 0 };

/** How each source stands, with its events by outcome. */
export function sourcesReport(states: SourceStates, books: Books): Readonly<Record<string, unknown>> {
  const accounts = books.accounts();
  return Object.fromEntries(
    Object.entries(states.report()).map((
      [source, report],
    ) => [source, { ...report, events: accounts[source] ?? NO_EVENTS }]),
  );
}

/** True where a sender must show a token, a client certificate, or an allowed address. */
export function sendersAreChecked(settings: Settings): boolean {
  const { webhookAuthToken, webhookAuthTokenFile, webhookAllowedIps, tlsClientCaFile } = settings;
  return [webhookAuthToken, webhookAuthTokenFile, tlsClientCaFile, ...webhookAllowedIps].some(Boolean);
}

/** Warns of webhooks that take events from anyone: useful on a laptop, dangerous anywhere else. */
export function warnIfOpen(settings: Settings): void {
  if (sendersAreChecked(settings)) return;
  log.warn("Webhooks accept events from everyone who can reach them", {
    mend: "set WEBHOOK_AUTH_TOKEN or WEBHOOK_AUTH_TOKEN_FILE, TLS_CLIENT_CA_FILE, or WEBHOOK_ALLOWED_IPS",
  });
}
