/** The whole program in this process, against the embedded or a real API server. */
import { type App, type AppOptions, startApp } from "../../src/app.ts";
import { type Connection, fixedConnection } from "../../src/kube/api.ts";
import { readSettings } from "../../src/settings.ts";
import { eventually } from "./eventually.ts";

/** A minute and more: a machine that runs other suites as well is slow. */
const READY_TIMEOUT_MS = 120_000;

export interface TestAppOptions extends Pick<AppOptions, "watchTuning" | "clock"> {
  /** A server without TLS, or a connection. */
  readonly server: string | Connection;
  readonly env?: Readonly<Record<string, string>>;
}

export interface TestApp extends App, AsyncDisposable {
  /** Posts a body to a path. */
  post(
    path: string,
    body: unknown,
    headers?: Record<string, string>,
  ): Promise<{ status: number; body: Record<string, unknown> }>;
  /** The value of a metric with these labels; 0 where it has none. */
  metric(name: string, labels?: Readonly<Record<string, string>>): Promise<number>;
}

/** Starts the program on free loopback ports and waits until it is ready. */
export async function startTestApp({ server, env = {}, ...options }: TestAppOptions): Promise<TestApp> {
  const all: Readonly<Record<string, string>> = {
    WATCHER_ADDRESS: "127.0.0.1",
    WATCHER_PORT: "0",
    METRICS_PORT: "0",
    SHUTDOWN_DELAY: "0s",
    DISCOVERY_INTERVAL: "1s",
    ...env,
  };
  const settings = readSettings((name) => all[name]);
  const connection = typeof server === "string" ? fixedConnection({ server }) : server;
  const app = await startApp({ settings, connection, ...options });
  await eventually("the program to be ready", () => app.health.ready().ok, { timeoutMs: READY_TIMEOUT_MS });
  return {
    ...app,
    async post(path, body, headers = { "content-type": "application/json" }) {
      const text = typeof body === "string" ? body : JSON.stringify(body);
      const response = await fetch(app.url + path, { method: "POST", body: text, headers });
      return { status: response.status, body: await response.json() };
    },
    async metric(name, labels = {}) {
      const metrics = await app.metrics.registry.getMetricsAsJSON();
      const found = metrics.find((metric) => metric.name === `zen_watcher_${name}`);
      const rows = (found?.values ?? []) as readonly { value: number; labels: Record<string, string> }[];
      return rows
        .filter((row) =>
          Object.entries(labels).every(([label, value]) => String(row.labels[label]) === value)
        )
        .reduce((sum, row) => sum + row.value, 0);
    },
    [Symbol.asyncDispose]: () => app.stop(),
  };
}

/** How many lists of a source's resources the program has evaluated in full. */
export async function evaluationsOf(app: App, source: string): Promise<number> {
  const { values } = await app.metrics.scrapeDuration.get();
  return values.find(({ metricName, labels }) => metricName?.endsWith("_count") && labels.watcher === source)
    ?.value ?? 0;
}
