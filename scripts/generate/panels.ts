/** Grafana dashboards, from a few words for each panel. Cells and legends render as text: no HTML, no links from data. */

/** What a panel shows. */
export interface Query {
  readonly expr: string;
  /** As `{{source}}`; empty for a single value. */
  readonly legend?: string;
}

export interface Panel {
  readonly title: string;
  readonly says: string;
  readonly type: "timeseries" | "stat" | "table" | "bargauge";
  readonly queries: readonly Query[];
  readonly unit?: string;
  /** Of 24. */
  readonly width: number;
  readonly height?: number;
  /** Colour from this value on: [value, colour]. */
  readonly thresholds?: readonly (readonly [number, string])[];
}

export interface Dashboard {
  readonly uid: string;
  readonly title: string;
  readonly says: string;
  readonly rows: readonly { readonly title: string; readonly panels: readonly Panel[] }[];
}

const SOURCE = { type: "prometheus", uid: "${datasource}" };
const COLUMNS = 24;
const HEIGHT = 8;

/** The dashboard as Grafana imports it. */
export function dashboardJson({ uid, title, says, rows }: Dashboard): string {
  const panels: object[] = [];
  let y = 0;
  for (const row of rows) {
    panels.push({
      id: panels.length + 1,
      type: "row",
      title: row.title,
      collapsed: false,
      panels: [],
      gridPos: { h: 1, w: COLUMNS, x: 0, y: y++ },
    });
    let x = 0;
    let tallest = 0;
    for (const panel of row.panels) {
      const { width, height = HEIGHT } = panel;
      if (x + width > COLUMNS) [x, y, tallest] = [0, y + tallest, 0];
      panels.push({ ...panelJson(panel), id: panels.length + 1, gridPos: { h: height, w: width, x, y } });
      x += width;
      tallest = Math.max(tallest, height);
    }
    y += tallest;
  }
  const dashboard = {
    uid,
    title,
    description: says,
    tags: ["zen-watcher"],
    schemaVersion: 39,
    version: 1,
    editable: true,
    graphTooltip: 1,
    refresh: "30s",
    time: { from: "now-6h", to: "now" },
    timezone: "browser",
    annotations: { list: [] },
    links: [{ type: "dashboards", tags: ["zen-watcher"], title: "zen-watcher", asDropdown: true }],
    templating: { list: variables() },
    panels,
  };
  return `${JSON.stringify(dashboard, undefined, 2)}\n`;
}

function panelJson({ title, says, type, queries, unit = "short", thresholds = [] }: Panel): object {
  const steps = [{ color: "green", value: null }, ...thresholds.map(([value, color]) => ({ value, color }))];
  return {
    type,
    title,
    description: says,
    datasource: SOURCE,
    targets: queries.map(({ expr, legend = "" }, index) => ({
      refId: String.fromCharCode(65 + index),
      datasource: SOURCE,
      expr,
      legendFormat: legend === "" ? "__auto" : legend,
      ...(type === "table" || type === "bargauge" ? { instant: true, format: "table" } : { range: true }),
    })),
    fieldConfig: {
      defaults: {
        unit,
        thresholds: { mode: "absolute", steps },
        ...(type === "table" ? { custom: { cellOptions: { type: "auto" }, inspect: false } } : {}),
      },
      overrides: [],
    },
    options: OPTIONS[type],
    ...(type === "table"
      ? { transformations: [{ id: "organize", options: { excludeByName: { Time: true } } }] }
      : {}),
  };
}

const OPTIONS: Readonly<Record<Panel["type"], object>> = {
  timeseries: {
    legend: { displayMode: "list", placement: "bottom", showLegend: true },
    tooltip: { mode: "multi", sort: "desc" },
  },
  stat: {
    colorMode: "value",
    graphMode: "area",
    reduceOptions: { calcs: ["lastNotNull"], fields: "", values: false },
  },
  table: { showHeader: true, cellHeight: "sm" },
  bargauge: {
    displayMode: "basic",
    orientation: "horizontal",
    reduceOptions: { calcs: ["lastNotNull"], values: true },
  },
};

function variables(): object[] {
  const query = (name: string, label: string, text: string) => ({
    name,
    label,
    type: "query",
    datasource: SOURCE,
    query: { query: text, refId: name },
    definition: text,
    refresh: 2,
    includeAll: true,
    allValue: ".*",
    multi: true,
    current: { selected: true, text: ["All"], value: ["$__all"] },
  });
  return [
    { name: "datasource", label: "Data source", type: "datasource", query: "prometheus", current: {} },
    query("job", "Job", "label_values(zen_watcher_build_info, job)"),
    query("source", "Source", 'label_values(zen_watcher_events_total{job=~"$job"}, source)'),
  ];
}
