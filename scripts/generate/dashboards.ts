/** The chart's Grafana dashboards. */
import { MAIN } from "./dashboards/main.ts";
import { OPERATIONS } from "./dashboards/operations.ts";
import { CRITICAL, SECURITY } from "./dashboards/security.ts";
import type { GeneratedFile } from "./file.ts";
import { dashboardJson } from "./panels.ts";

export function generateDashboards(): GeneratedFile[] {
  return [MAIN, OPERATIONS, SECURITY, CRITICAL].map((dashboard) => ({
    path: `helm/zen-watcher/files/dashboards/${dashboard.uid.replace("zen-watcher-", "")}.json`,
    text: dashboardJson(dashboard),
  }));
}
