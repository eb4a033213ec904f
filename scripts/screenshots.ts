import type { Page } from "playwright-core";
import { isObject } from "../src/model/json.ts";
import { DAY_MS } from "../src/model/time.ts";
import { OBSERVATION_EXCEPTIONS } from "../src/exceptions/kind.ts";
import type { KubeApi, KubeObject } from "../src/kube/api.ts";
import { environment, readSettings } from "../src/settings.ts";
import { OBSERVATIONS } from "../src/store/mod.ts";
import { startPage } from "../src/ui/mod.ts";
import { openSampleCluster } from "./support/cluster.ts";
import { startController } from "./support/controller.ts";
import { createNamespaces, feedSamples, installCrds } from "./support/feed.ts";
import { exec } from "./support/run.ts";
import { runScript, say } from "./support/script.ts";
import { ensureCommand, ensureTool } from "./tools.ts";
import expected from "./samples/expected.json" with { type: "json" };

const HELP = `
Usage: deno task screenshots

Takes the pictures of the page in docs/images: the samples of the demo, with a month of history spread over them, in every view and
both themes. Needs Debian's packages chromium-headless-shell and pngquant, and installs them where it may. Look at the pictures
before you commit them.
`;
const IMAGES = new URL("../docs/images/", import.meta.url).pathname;
const NAMESPACE = "zen-demo";
const HOUR_MS = 3_600_000;
const POLL_MS = 250;
const COLOURS = "128";
const WIDE = { width: 1280, height: 800 };
const NARROW = { width: 360, height: 740 };

/** A picture: the view's address, and what has to be there before it is taken. */
interface Shot {
  readonly name: string;
  readonly path: string;
  readonly ready: string;
  /** Taken on a phone, too. */
  readonly narrow?: boolean;
  readonly act?: (page: Page) => Promise<void>;
}
const SHOTS: readonly Shot[] = [
  { name: "overview", path: "/", ready: ".note time" },
  { name: "workloads", path: "/?view=workloads", ready: "table.groups tbody tr" },
  { name: "rules", path: "/?view=rules", ready: "table.groups tbody tr" },
  {
    name: "findings",
    path: "/?view=findings&severity=CRITICAL,HIGH",
    ready: ".window .cell.rule a",
    narrow: true,
  },
  {
    name: "finding",
    path: "/?view=findings&source=trivy",
    ready: "dl.facts",
    act: (page) => page.locator(".window .cell.rule a").first().click(),
  },
  { name: "exceptions", path: "/?view=exceptions", ready: "table.exceptions tbody tr" },
  {
    name: "accept",
    path: "/?view=findings&source=trivy&severity=HIGH",
    ready: ".preview table",
    act: async (page) => {
      await page.locator(".window .cell.rule a").first().click();
      await page.getByRole("link", { name: "Accept this risk…" }).click();
      await page.getByLabel("Reason").selectOption("not_affected");
      await page.getByLabel("Justification").fill(
        "The library is in the image, but the program never loads it.",
      );
    },
  },
];

async function main(): Promise<void> {
  const executablePath = await ensureTool("chromium-headless-shell");
  const pngquant = await ensureCommand("pngquant", ["pngquant"]);
  await using cluster = await openSampleCluster({});
  const { api } = cluster;
  await storeSamples(api, cluster.kubeconfig);
  await addHistory(api);
  let address = "";
  await using server = await startPage({
    api,
    connection: { ...cluster.connection, context: "demo" },
    settings: readSettings(environment),
    port: 0,
    onAddress: (printed) => address = printed,
  });
  // It reads the home folder when it is loaded, which --help may not.
  const { chromium } = await import("playwright-core");
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  try {
    for (const colorScheme of ["light", "dark"] as const) {
      for (const [size, viewport] of [["", WIDE], ["-360", NARROW]] as const) {
        const page = await (await browser.newContext({ colorScheme, viewport })).newPage();
        await page.goto(address);
        await page.locator(".live", { hasText: "Live" }).waitFor();
        for (const shot of SHOTS.filter(({ narrow }) => narrow || viewport === WIDE)) {
          const file = `${IMAGES}ui-${shot.name}${size}-${colorScheme}.png`;
          await take(page, shot, { origin: `http://127.0.0.1:${server.port}`, file });
          await exec(pngquant, ["--force", "--strip", "--output", file, COLOURS, file], {
            why: "it makes the pictures small",
          });
          say(`${file}: ${Math.round((await Deno.stat(file)).size / 1024)} KiB`);
        }
        address = server.address();
      }
    }
  } finally {
    await browser.close();
  }
}

async function take(
  page: Page,
  { path, ready, act }: Shot,
  { origin, file }: { readonly origin: string; readonly file: string },
): Promise<void> {
  await page.goto(origin + path);
  await act?.(page);
  await page.locator(ready).first().waitFor();
  await page.locator(".old, .wait, .empty-row").first().waitFor({ state: "detached" });
  await page.mouse.move(0, 0);
  await page.evaluate("document.activeElement?.blur(); scrollTo(0, 0)");
  await page.screenshot({ path: file, animations: "disabled" });
}

/** The controller takes in the samples by the real ways, until all is stored that the demo expects. */
async function storeSamples(api: KubeApi, kubeconfig: string): Promise<void> {
  await installCrds(api);
  await createNamespaces(api, [NAMESPACE]);
  await using controller = await startController({ kubeconfig, env: { POD_NAMESPACE: NAMESPACE } });
  await feedSamples(api, { url: controller.url, namespace: NAMESPACE });
  const wanted = Object.values(expected).flatMap((counts) => Object.values(counts)).reduce(
    (sum, count) => sum + count,
    0,
  );
  for (let stored = 0; stored < wanted;) {
    stored = (await api.list(OBSERVATIONS)).items.length;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** Spreads what was just stored over the days before, resolves some of it, and accepts a rule. */
async function addHistory(api: KubeApi): Promise<void> {
  const { items } = await api.list(OBSERVATIONS);
  const accepted = items.find(({ metadata, spec }) =>
    isObject(spec) && spec.source === "trivy" && spec.severity === "HIGH" &&
    metadata.labels?.["zen.kube-zen.io/workload"]
  );
  for (const [index, item] of items.entries()) {
    const { name = "", namespace = "" } = item.metadata;
    const options = { namespace, subresource: "status", type: "merge" } as const;
    await api.patch(OBSERVATIONS, name, {
      status: statusOf(index, item === accepted ? namespace : undefined),
    }, options);
  }
  if (!accepted) return;
  const namespace = accepted.metadata.namespace ?? "";
  await api.create(OBSERVATION_EXCEPTIONS, exceptionFor(accepted), { namespace });
  const ready = { type: "Ready", status: "True", reason: "InForce", message: "", lastTransitionTime: ago(0) };
  const status = { matched: 1, conditions: [ready] };
  await api.patch(OBSERVATION_EXCEPTIONS, EXCEPTION, { status }, {
    namespace,
    subresource: "status",
    type: "merge",
  });
}

function statusOf(index: number, accepted: string | undefined) {
  const age = ((index * 37) % 97) / 97;
  const firstSeenAt = ago(age * age * 26 * DAY_MS + HOUR_MS);
  const lastSeenAt = ago(((index * 13) % 60) * 60_000);
  if (accepted) {
    const exception = {
      namespace: accepted,
      name: EXCEPTION,
      since: ago(3 * DAY_MS),
      expiresAt: ago(-60 * DAY_MS),
    };
    return { firstSeenAt: ago(9 * DAY_MS), lastSeenAt, phase: "Accepted", exception };
  }
  if (index % 7 !== 3) return { firstSeenAt, lastSeenAt, occurrences: 1 + (index * index) % 17 };
  const resolvedAt = ago(((index * 29) % 300) * HOUR_MS / 3);
  return {
    firstSeenAt: ago(20 * DAY_MS),
    lastSeenAt: resolvedAt,
    resolvedAt,
    phase: "Resolved",
    resolvedReason: "NotReported",
  };
}

const EXCEPTION = "not-loaded-at-run-time";

function exceptionFor({ metadata, spec }: KubeObject): KubeObject {
  const { source, rule } = isObject(spec) ? spec : {};
  return {
    apiVersion: "zen.kube-zen.io/v1alpha1",
    kind: "ObservationException",
    metadata: { name: EXCEPTION, ...(metadata.namespace !== undefined && { namespace: metadata.namespace }) },
    spec: {
      match: {
        rules: [rule ?? ""],
        sources: [source ?? ""],
        workloads: [metadata.labels?.["zen.kube-zen.io/workload"] ?? ""],
      },
      reason: "not_affected",
      justification: "The library is in the image, but the program never loads it.",
      ticket: "https://tickets.example.com/SEC-1234",
      expiresAt: ago(-60 * DAY_MS),
    },
  } as KubeObject;
}

function ago(ms: number): string {
  return `${new Date(Date.now() - ms).toISOString().slice(0, 19)}Z`;
}

if (import.meta.main) await runScript({ help: HELP }, main);
