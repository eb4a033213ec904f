import type { NormalEvent } from "../../src/model/event.ts";

/** A normalised event for tests, with what the test cares about. */
export function normalEvent(fields: Partial<NormalEvent> = {}): NormalEvent {
  return {
    source: "trivy",
    kind: "finding",
    category: "security",
    severity: "HIGH",
    eventType: "vulnerability",
    message: "A message",
    details: {},
    detectedAt: "2026-01-01T00:00:00Z",
    rule: "",
    rules: [],
    fingerprint: "0".repeat(64),
    identity: "identity",
    at: 1_767_225_600_000,
    receivedAt: 1_767_225_600_000,
    namespace: "default",
    ttlSeconds: 604_800,
    windowMs: 60_000,
    countRepeats: true,
    contentHash: 0,
    resolved: false,
    ...fields,
  };
}
