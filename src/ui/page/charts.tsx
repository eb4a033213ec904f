/** @jsxRuntime automatic */
/** @jsxImportSource preact */
/// <reference no-default-lib="true" />
/// <reference lib="esnext" />
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/** Charts as SVG: a picture with a title for readers of the screen, and a table of its figures beside or under it. */
import { max, ticks } from "d3-array";
// @ts-types="npm:@types/d3-shape@3.2.0"
import { stack, stackOffsetDiverging } from "d3-shape";
import { useEffect, useRef, useState } from "preact/hooks";
import { SEVERITIES, type Severity } from "../../model/terms.ts";
import { DAY_MS } from "../../model/time.ts";
import type { Overview } from "../protocol.ts";
import { go, hrefOf } from "./route.ts";
import { CountLink, countsText, numberText, sumOf } from "./words.tsx";

/** One bar of severities; `most` is what a full bar stands for. */
export function SeverityBar(
  { counts, most, label }: {
    readonly counts: Readonly<Record<Severity, number>>;
    readonly most: number;
    readonly label: string;
  },
) {
  let x = 0;
  return (
    <svg class="severity-bar" role="img" aria-label={`${label}: ${countsText(counts)}`}>
      <title>{countsText(counts)}</title>
      <rect class="rail" width="100%" height="100%" rx="2" />
      {SEVERITIES.map((severity) => {
        const width = 100 * counts[severity] / Math.max(most, 1);
        const from = x;
        x += width;
        return width > 0 && (
          <rect
            key={severity}
            class={`fill ${severity.toLowerCase()}`}
            x={`${from}%`}
            width={`${width}%`}
            height="100%"
          />
        );
      })}
    </svg>
  );
}

/** What the colours of the bars mean. */
export function SeverityLegend() {
  return (
    <ul class="legend" aria-hidden="true">
      {SEVERITIES.map((severity) => (
        <li key={severity}>
          <span class={`swatch ${severity.toLowerCase()}`} />
          {severity.toLowerCase()}
        </li>
      ))}
    </ul>
  );
}

interface Day {
  readonly day: string;
  readonly new: number;
  readonly resolved: number;
}
const CHART_HEIGHT = 176;
const MARGIN = { top: 10, right: 4, bottom: 22, left: 40 };
const DIVERGING = stack<unknown, Day, "new" | "resolved">()
  .keys(["new", "resolved"])
  .value((day, key) => key === "new" ? day.new : -day.resolved)
  .offset(stackOffsetDiverging);

/** New findings of each day above the line, resolved ones below it; days before what is held are grey. */
export function DaysChart({ perDay, heldSince }: Pick<Overview, "perDay" | "heldSince">) {
  const [box, width] = useWidth();
  const top = Math.max(1, max(perDay, (day) => day.new) ?? 0);
  const bottom = Math.max(1, max(perDay, (day) => day.resolved) ?? 0);
  const inner = Math.max(0, width - MARGIN.left - MARGIN.right);
  const high = CHART_HEIGHT - MARGIN.top - MARGIN.bottom;
  const y = (value: number) => MARGIN.top + high * (top - value) / (top + bottom);
  const step = inner / Math.max(1, perDay.length);
  const x = (index: number) => MARGIN.left + index * step;
  const heldFrom = perDay.findIndex(({ day }) => day >= heldSince.slice(0, 10));
  const unheld = heldSince === "" ? 0 : heldFrom < 0 ? perDay.length : heldFrom;
  const sums = perDay.reduce(
    (sum, day) => ({ new: sum.new + day.new, resolved: sum.resolved + day.resolved }),
    {
      new: 0,
      resolved: 0,
    },
  );
  const title = `${numberText(sums.new)} new and ${
    numberText(sums.resolved)
  } resolved in ${perDay.length} days`;
  return (
    <div class="days" ref={box}>
      <svg role="img" aria-label={title} width={width} height={CHART_HEIGHT}>
        <title>{title}</title>
        {ticks(-bottom, top, 4).filter(Number.isInteger).map((tick) => (
          <g key={tick}>
            <line
              class={tick === 0 ? "axis" : "grid"}
              x1={MARGIN.left}
              x2={width - MARGIN.right}
              y1={y(tick)}
              y2={y(tick)}
            />
            <text class="tick" x={MARGIN.left - 6} y={y(tick)} text-anchor="end" dominant-baseline="middle">
              {numberText(Math.abs(tick))}
            </text>
          </g>
        ))}
        {unheld > 0 && <rect class="unheld" x={x(0)} y={MARGIN.top} width={step * unheld} height={high} />}
        {DIVERGING(perDay.slice()).map((series) => (
          <g key={series.key} class={series.key}>
            {series.map(([from, to], index) => (
              <rect
                key={index}
                x={x(index) + step * 0.14}
                width={Math.max(0, step * 0.72)}
                y={y(to)}
                height={Math.max(0, y(from) - y(to))}
                rx="1.5"
              />
            ))}
          </g>
        ))}
        {perDay.map(({ day }, index) =>
          (perDay.length - 1 - index) % (width < 480 ? 14 : 7) === 0 && (
            <text
              key={day}
              class="tick"
              x={x(index) + step / 2}
              y={CHART_HEIGHT - 6}
              text-anchor={index > perDay.length - 3 ? "end" : "middle"}
            >
              {day.slice(5)}
            </text>
          )
        )}
        {perDay.map((day, index) => (
          <rect
            key={day.day}
            class="day"
            x={x(index)}
            width={step}
            y={MARGIN.top}
            height={high}
            onClick={() => go(hrefOf("findings", newOn(day.day)))}
          >
            <title>{`${day.day}: ${day.new} new, ${day.resolved} resolved`}</title>
          </rect>
        ))}
      </svg>
      <p class="note">
        <span class="swatch new" /> new <span class="swatch resolved" /> resolved, by UTC day.{" "}
        {unheld > 0 && `Grey: before ${heldSince.slice(0, 10)}, where what is stored begins.`}
      </p>
      <details>
        <summary>Figures of each day</summary>
        <table class="plain">
          <thead>
            <tr>
              <th scope="col">UTC day</th>
              <th scope="col" class="right">New</th>
              <th scope="col" class="right">Resolved</th>
            </tr>
          </thead>
          <tbody>
            {perDay.slice().reverse().map((day) => (
              <tr key={day.day}>
                <th scope="row">{day.day}</th>
                <td class="right">
                  <CountLink count={day.new} filter={newOn(day.day)} label={`new on ${day.day}`} />
                </td>
                <td class="right">
                  <CountLink
                    count={day.resolved}
                    filter={{ phase: "all", resolvedSince: day.day, resolvedUntil: day.day }}
                    label={`resolved on ${day.day}`}
                  />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </details>
    </div>
  );
}

function newOn(day: string) {
  return { phase: "all", since: day, until: day };
}

/** Open findings by age: one bar each. */
export function AgesChart({ ages }: Pick<Overview, "ages">) {
  const most = max(ages, ({ counts }) => sumOf(counts)) ?? 0;
  return (
    <table class="bars">
      <thead>
        <tr>
          <th scope="col">Age</th>
          <th scope="col">Severities</th>
          <th scope="col" class="right">Open</th>
        </tr>
      </thead>
      <tbody>
        {ages.map(({ label, since, until, counts }) => (
          <tr key={label}>
            <th scope="row">{label}</th>
            <td class="bar">
              <SeverityBar counts={counts} most={most} label={label} />
            </td>
            <td class="right">
              <CountLink
                count={sumOf(counts)}
                filter={{ ...(since ? { since } : {}), ...(until ? { until } : {}) }}
                label={`open, ${label}`}
              />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** The time one day ago, by the minute, so that the address of a link stays the same for a while. */
export function dayAgo(): string {
  const minute = 60_000;
  return new Date(Math.floor((Date.now() - DAY_MS) / minute) * minute).toISOString().replace(".000Z", "Z");
}

/** The width of an element, kept current. */
function useWidth(): [{ readonly current: HTMLDivElement | null }, number] {
  const box = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const observer = new ResizeObserver(([entry]) => setWidth(Math.floor(entry?.contentRect.width ?? 0)));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  return [box, width];
}
