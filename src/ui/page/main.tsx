/** The page: its entry, as the bundler takes it. */
/** @jsxRuntime automatic */
/** @jsxImportSource preact */
/// <reference no-default-lib="true" />
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/// <reference lib="esnext" />
import { signal } from "@preact/signals";
// @ts-types="@types/d3-array"
import { sum } from "d3-array";
// @ts-types="@types/d3-shape"
import { line } from "d3-shape";
import { render } from "preact";

const counts = signal<readonly number[]>([]);

/** How many findings there are, by day. */
function Days() {
  const path = line<number>((_, day) => day, (count) => -count)([...counts.value]) ?? "";
  return (
    <svg role="img">
      <title>{sum(counts.value)} findings</title>
      <path d={path} />
    </svg>
  );
}

const root = document.getElementById("page");
if (root) render(<Days />, root);
