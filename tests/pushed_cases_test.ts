/**
 * Alerts and audit events that once came out wrong (`tests/fixtures/cases/<case>/`, what must come out is in its
 * `expected.md`).
 */
import { assertEquals, assertStringIncludes } from "@std/assert";
import type { NormalEvent } from "../src/model/event.ts";
import { isObject, type Json, type JsonObject } from "../src/model/json.ts";
import { audit } from "../src/sources/audit/mod.ts";
import { checkov } from "../src/sources/checkov/mod.ts";
import { falco } from "../src/sources/falco/mod.ts";
import type { Source } from "../src/sources/source.ts";
import { loadDocuments, pushedPayload } from "./support/load_fixture.ts";
import { runtimeFor } from "./support/source_runtime.ts";

function eventsOf(source: Source, ...bodies: readonly Json[]): NormalEvent[] {
  const runtime = runtimeFor(source);
  return bodies.flatMap((body) => {
    const payload = pushedPayload(body);
    return [...runtime.draw(payload)].map((drawn) => {
      if ("error" in drawn) throw new Error(JSON.stringify(drawn.error));
      return runtime.normalize(drawn.event, payload);
    });
  });
}

async function eventsIn(source: Source, file: string): Promise<NormalEvent[]> {
  return eventsOf(source, ...await loadDocuments(`cases/${file}`));
}

function where({ resource, namespace }: NormalEvent): string {
  return `${resource?.kind} ${resource?.name} in ${namespace}`;
}

/** Output fields with a value, whose names are no member of the details. */
function lostFields(alert: JsonObject, { details }: NormalEvent): string[] {
  const fields = isObject(alert.output_fields) ? alert.output_fields : {};
  return Object.entries(fields)
    .filter(([key, value]) =>
      value !== null && value !== "<NA>" && value !== "" && !Object.hasOwn(details, key)
    )
    .map(([key]) => `${alert.rule}: ${key}`);
}

Deno.test("falco loses no output field of the official rules, whole alerts included", async () => {
  const alerts = (await loadDocuments("sources/falco/upstream-rules/input.json")).flat() as JsonObject[];
  const events = eventsOf(falco, ...alerts);
  assertEquals(events.length, 96);
  assertEquals(events.flatMap((event, index) => lostFields(alerts[index] ?? {}, event)), []);
});

Deno.test("falco shows the file or object that an alert is about, and the message whole", async () => {
  const [alerts = []] = await loadDocuments("cases/falco-output-fields-lost/input.json") as JsonObject[][];
  const events = eventsOf(falco, ...alerts);
  assertEquals(events.flatMap((event, index) => lostFields(alerts[index] ?? {}, event)), []);
  const words = ["linkpath=/var/www/s.txt", "name=/usr/bin/ls", "filename=/tmp/x1", "app=payroll"];
  words.forEach((word, index) => assertStringIncludes(events[index]?.message ?? "", word));
});

Deno.test("names and a catalogue's words stay as they are, and secrets beside them are masked", () => {
  const [alert] = eventsOf(falco, {
    rule: "Read secret: shadow",
    priority: "Warning",
    output: "cat --password hunter2",
    tags: ["token: access"],
    output_fields: { "proc.cmdline": "mysql -phunter2" },
  });
  assertEquals([alert?.details.rule, alert?.details.tags], ["Read secret: shadow", ["token: access"]]);
  assertEquals(JSON.stringify([alert?.message, alert?.details]).includes("hunter2"), false);
  const [act] = eventsOf(audit, {
    apiVersion: "audit.k8s.io/v1",
    kind: "Event",
    auditID: "a",
    stage: "ResponseComplete",
    verb: "delete",
    requestURI: "/apis/apps/v1/namespaces/shop/deployments/web?token=hunter2",
    user: { username: "system:serviceaccount:ci:secret=deploy", groups: ["password: holders"] },
    objectRef: {
      resource: "deployments",
      apiGroup: "apps",
      apiVersion: "v1",
      namespace: "shop",
      name: "web",
    },
    responseStatus: { code: 200 },
    requestReceivedTimestamp: "2026-11-22T00:00:00.000000Z",
    stageTimestamp: "2026-11-22T00:00:00.000000Z",
  });
  assertEquals(
    [act?.details.user, act?.details.groups],
    ["system:serviceaccount:ci:secret=deploy", ["password: holders"]],
  );
  assertEquals(JSON.stringify(act?.details).includes("hunter2"), false);
});

Deno.test("falco names the Pod or the Namespace of an alert, and stores it there", async () => {
  const events = await eventsIn(falco, "falco-namespace-or-name-lost/input.json");
  assertEquals(events.map(where), [
    "Pod web-7f8d9 in shop",
    "Namespace team-a in team-a",
    "Namespace shop in shop",
  ]);
  const [pod] = await eventsIn(falco, "falco-k8saudit-pod-name/privileged.json");
  assertEquals([pod && where(pod), pod?.details["ka.req.pod.containers.image"]], [
    "Pod web-1 in shop",
    "nginx:1.27",
  ]);
  const [secret] = await eventsIn(falco, "falco-k8saudit-pod-name/secret.json");
  assertEquals(secret && where(secret), "Secret db-credentials in shop");
  assertStringIncludes(secret?.message ?? "", "secret=db-credentials ");
});

Deno.test("checkov shows the resource after a title that names a header", async () => {
  const [event] = await eventsIn(checkov, "mask-words-checkov/gke.json");
  assertStringIncludes(
    event?.message ?? "",
    "Ensure use of Binary Authorization: google_container_cluster.workload_cluster",
  );
});

Deno.test("audit stores no dry runs except deletions whose body is not recorded", async () => {
  const events = await eventsIn(audit, "audit-dry-run/input.json");
  assertEquals(events.map(({ drop, eventType, details }) => drop ?? `${eventType} ${details.dryRun}`), [
    "not_relevant",
    "not_relevant",
    "resource-deletion unproven",
    "not_relevant",
  ]);
});

Deno.test("audit names the command that was run, and the container", async () => {
  const events = await eventsIn(audit, "audit-exec-command-lost/exec.json");
  assertEquals(events.map(({ message }) => message), [
    'mallory was allowed to run "id" in container sidecar of Pod vault/vault-0 (101)',
    'mallory was allowed to run "cat /vault/data" in container vault of Pod vault/vault-0 (101)',
  ]);
});
