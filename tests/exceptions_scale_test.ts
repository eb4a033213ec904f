/** What 10,000 exceptions and 50,000 findings cost: the figures are printed, and what is decided is checked. */
import { assert, assertEquals } from "@std/assert";
import { type ExceptionDocument, readException } from "../src/exceptions/document.ts";
import { ExceptionIndex } from "../src/exceptions/judge.ts";
import { ObservationIndex } from "../src/store/mod.ts";
import { storedObservation } from "./support/observation.ts";

const EXCEPTIONS = 10_000;
const FINDINGS = 50_000;
const NAMESPACES = 100;
const RULES = 5_000;
const NOW = Date.UTC(2026, 10, 1);
/** Every second exception names a workload too, every tenth a resource alone. */
const EXPIRES = "2027-01-31T00:00:00Z";

const namespaceOf = (number: number) => `ns-${number % NAMESPACES}`;
const ruleOf = (number: number) => `CVE-2026-${10_000 + number % RULES}`;
const workloadOf = (number: number) => `app-${number % 250}`;

function exceptionOf(number: number): ExceptionDocument {
  const match = number % 10 === 0
    ? { resources: [{ kind: "Deployment", name: workloadOf(number) }] }
    : number % 2 === 0
    ? { rules: [ruleOf(number)], workloads: [workloadOf(number)] }
    : { rules: [ruleOf(number), ruleOf(number + 1)], sources: ["trivy"], severities: ["HIGH"] };
  const read = readException({
    metadata: { namespace: namespaceOf(number), name: `e-${number}` },
    spec: { match, reason: "accepted_risk", justification: "x", expiresAt: EXPIRES },
  }, { maxDays: 365, now: NOW });
  assert(read.ok);
  return read.value;
}

function findingOf(number: number) {
  const namespace = namespaceOf(number);
  return storedObservation({
    id: `finding-${number}`,
    kind: "finding",
    source: "trivy",
    severity: "HIGH",
    namespace,
    rule: ruleOf(number),
    resource: { kind: "Deployment", name: workloadOf(Math.floor(number / 2)), namespace },
    resourceVersion: String(number + 1),
  });
}

Deno.test("10,000 exceptions judge 50,000 findings by rule and resource, and an edit judges its own alone", async () => {
  const exceptions = new ExceptionIndex();
  const index = new ObservationIndex({
    sharedNamespaces: ["zen-system"],
    clock: { now: () => NOW },
    contentHash: () => 0,
    acceptanceOf: (finding) => exceptions.judge(finding, finding.belongsTo)?.text ?? "",
  });
  index.take({ type: "init" });
  for (let number = 0; number < FINDINGS; number++) index.take({ type: "apply", object: findingOf(number) });
  index.take({ type: "synced", resourceVersion: String(FINDINGS + 1) });
  assertEquals([index.size, index.acceptedCounts().size], [FINDINGS, 0]);

  const heapBefore = await heap();
  const documents = timed("read and index 10,000 exceptions", () => {
    const read = Array.from({ length: EXCEPTIONS }, (_, number) => exceptionOf(number));
    for (const document of read) exceptions.add(document);
    return read;
  });
  const accepted = timed("judge 50,000 findings", () => index.judgeAgain());
  say(`memory of both: ${((await heap() - heapBefore) / 2 ** 20).toFixed(1)} MiB`);
  const again = timed("judge them again, nothing changed", () => index.judgeAgain());
  assertEquals(again, 0);
  assert(accepted > 1_000 && accepted < FINDINGS, `${accepted}`);
  const counted = [...index.acceptedCounts().values()].reduce((sum, count) => sum + count, 0);
  assertEquals(counted, accepted);
  say(`of ${FINDINGS} findings ${accepted} are accepted`);

  const [document] = documents.filter(({ text }) => (index.acceptedCounts().get(text) ?? 0) > 0);
  assert(document);
  const covered = index.acceptedCounts().get(document.text) ?? 0;
  const concerned = {
    namespaces: new Set([document.namespace]),
    rules: new Set(document.rules ?? []),
    resources: new Set(document.rules ? [] : document.resources ?? []),
  };
  const changed = timed("withdraw one exception", () => {
    exceptions.remove(document);
    return index.judgeAgain(concerned);
  });
  assertEquals(changed, covered);
  const restored = timed("write it again", () => {
    exceptions.add(document);
    return index.judgeAgain(concerned);
  });
  assertEquals(restored, covered);
});

function timed<T>(what: string, work: () => T): T {
  const startedAt = performance.now();
  const result = work();
  say(`${what}: ${(performance.now() - startedAt).toFixed(1)} ms`);
  return result;
}

/** Heap in use once it has been collected, where the process may ask for that. */
async function heap(): Promise<number> {
  const { gc } = globalThis as { gc?: () => void };
  for (let turn = 0; turn < 3; turn++) {
    gc?.();
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
  const { heapUsed, external } = Deno.memoryUsage();
  return heapUsed + external;
}

function say(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`  ${text}\n`));
}
