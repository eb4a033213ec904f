/** kube-bench's results: failed and manual checks of a benchmark, one for each node. */
import type { Drawn, DrawnEvent } from "../../model/event.ts";
import {
  at,
  firstText,
  isObject,
  type Json,
  type JsonObject,
  shapeOf,
  textAt,
  withoutEmpty,
} from "../../model/json.ts";
import { documentsIn, type Holder, RESULTS_KEY } from "../config_maps.ts";
import { type Source, unread } from "../source.ts";
import { alikeTwins, joined, ownerOf, sharedName, wordAt } from "../objects.ts";
import { namespace } from "../../text/setting.ts";

const NAME_PREFIX = "kube-bench-";
/** Deepest nesting of arrays that is read. Several documents, each an array, are the deepest that tools write. */
const MAX_DEPTH = 4;

const NAMESPACE = namespace("KUBE_BENCH_NAMESPACE", "kube-bench", "Where kube-bench's ConfigMaps are");

/** Failed checks of CIS benchmarks. */
export const kubeBench: Source = {
  name: "kube-bench",
  kind: "finding",
  summary: "CIS benchmark results of kube-bench, kept in ConfigMaps, one for each node",
  eventTypes: {
    "cis-benchmark": { category: "compliance", identity: ["node", "benchmark", "nodeType", "testNumber"] },
  },
  settings: [NAMESPACE],
  volatile: ["times of the run, totals", "the text, reason and actual value of a test", "the order of tests"],
  feeds: [{ type: "configmap", namespace: NAMESPACE, labelSelector: "app=kube-bench", key: RESULTS_KEY }],
  *draw(payload): Iterable<Drawn> {
    for (const found of documentsIn(payload)) {
      if ("error" in found) yield found;
      else yield* alikeTwins(fromDocument(found.document, { ...place(found), node: nodeOf(found.holder) }));
    }
  },
};

interface Place {
  readonly path: string;
  readonly depth: number;
  readonly node: string;
}

function place({ path }: { path: string }): { path: string; depth: number } {
  return { path, depth: 0 };
}

/** The node's name, which results lack: from a label or annotation of the ConfigMap, else the ConfigMap's name. */
function nodeOf({ name, labels, annotations }: Holder): string {
  const bare = name.startsWith(NAME_PREFIX) ? name.slice(NAME_PREFIX.length) : name;
  return firstText(textAt(labels, "node"), textAt(annotations, "node"), bare);
}

/** `{Controls: […]}`, an array of controls, one control, several of these, or Starboard's CISKubeBenchReport. */
function* fromDocument(document: Json, { path, depth, node }: Place): Generator<Drawn> {
  if (depth > MAX_DEPTH || (!Array.isArray(document) && !isObject(document))) {
    yield unread("wrong_shape", path, `expected kube-bench results, received ${shapeOf(document)}`);
    return;
  }
  if (Array.isArray(document)) {
    for (const [index, item] of document.entries()) {
      yield* fromDocument(item, { path: `${path}[${index}]`, depth: depth + 1, node });
    }
    return;
  }
  if (isObject(at(document, "report")) && at(document, "report", "sections") !== undefined) {
    const owner = firstText(
      wordAt(at(document, "metadata", "labels"), ["starboard.resource.name"]),
      textAt(ownerOf(document), "name"),
    );
    const reportNode = firstText(owner, textAt(document, "metadata", "name"), node);
    yield* fromControls(document, { keys: ["report", "sections"], place: { path, depth, node: reportNode } });
  } else if (at(document, "Controls") !== undefined) {
    yield* fromControls(document, { keys: ["Controls"], place: { path, depth, node } });
  } else if (at(document, "tests") !== undefined || at(document, "node_type") !== undefined) {
    yield* fromControl(document, { path, node });
  } else if (at(document, "Totals") === undefined) {
    yield unread("missing_field", joined(path, "Controls"), "expected an array of controls");
  }
}

interface Controls {
  readonly keys: readonly string[];
  readonly place: Place;
}

function* fromControls(
  document: JsonObject,
  { keys, place: { path, depth, node } }: Controls,
): Generator<Drawn> {
  const controls = at(document, ...keys);
  const controlsPath = joined(path, keys.join("."));
  // Go writes an empty list as null.
  if (controls === null) return;
  if (!Array.isArray(controls)) {
    yield unread("wrong_shape", controlsPath, `expected an array, received ${shapeOf(controls)}`);
    return;
  }
  yield* fromDocument(controls, { path: controlsPath, depth, node });
}

interface ControlPlace {
  readonly path: string;
  readonly node: string;
}

/** The fields that all checks of a control share. */
interface About {
  readonly node: string;
  readonly benchmark: string;
  readonly nodeType: string;
}

function* fromControl(control: JsonObject, { path, node }: ControlPlace): Generator<Drawn> {
  const about = {
    node: sharedName(node),
    benchmark: sharedName(control, "version"),
    nodeType: sharedName(control, "node_type"),
  };
  for (const test of itemsOf(control, { key: "tests", path })) {
    if ("error" in test) {
      yield test;
      continue;
    }
    const section = { number: sharedName(test.item, "section"), title: sharedName(test.item, "desc") };
    for (const result of itemsOf(test.item, { key: "results", path: test.path })) {
      if ("error" in result) yield result;
      else yield* fromResult(result.item, { path: result.path, about, section });
    }
  }
}

interface Items {
  readonly key: string;
  readonly path: string;
}

type Item = { readonly item: JsonObject; readonly path: string } | ReturnType<typeof unread>;

/** The objects of a list, which may be null or absent: controls of managed clusters and of `--check` are empty. */
function* itemsOf(parent: JsonObject, { key, path }: Items): Generator<Item> {
  const items = at(parent, key);
  const itemsPath = joined(path, key);
  if (items === undefined || items === null) return;
  if (!Array.isArray(items)) {
    yield unread("wrong_shape", itemsPath, `expected an array, received ${shapeOf(items)}`);
    return;
  }
  for (const [index, item] of items.entries()) {
    const itemPath = `${itemsPath}[${index}]`;
    if (isObject(item)) yield { item, path: itemPath };
    else if (item !== null) {
      yield unread("wrong_shape", itemPath, `expected an object, received ${shapeOf(item)}`);
    }
  }
}

interface ResultContext {
  readonly path: string;
  readonly about: About;
  readonly section: { readonly number: string; readonly title: string };
}

function* fromResult(result: JsonObject, { path, about, section }: ResultContext): Generator<Drawn> {
  const status = textAt(result, "status").trim().toUpperCase();
  if (status === "PASS" || status === "INFO") return;
  if (status !== "FAIL" && status !== "WARN") {
    const reason = status === "" ? "missing_field" : "invalid_value";
    yield unread(reason, `${path}.status`, "expected one of PASS|FAIL|WARN|INFO");
    return;
  }
  const number = textAt(result, "test_number");
  const title = textAt(result, "test_desc");
  if (number === "" && title === "") {
    yield unread("missing_field", `${path}.test_number`, "expected the number of a test");
    return;
  }
  yield { event: toEvent(result, { status, about, section }) };
}

interface Verdict extends Pick<ResultContext, "about" | "section"> {
  readonly status: "FAIL" | "WARN";
}

function toEvent(result: JsonObject, { status, about, section }: Verdict): DrawnEvent {
  const { node, benchmark, nodeType } = about;
  const scored = ["true", "yes"].includes(textAt(result, "scored").toLowerCase());
  const number = textAt(result, "test_number");
  const title = textAt(result, "test_desc");
  // Several components have a check of one title: the section names the component.
  const where = [section.title, [benchmark, nodeType].filter(Boolean).join(" ")].filter(Boolean).join(", ");
  return {
    category: "compliance",
    severity: status === "WARN" ? "low" : scored ? "high" : "medium",
    eventType: "cis-benchmark",
    message: `${firstText(title, number)}: ${status}${where === "" ? "" : ` (${where})`}`,
    rules: [firstText(number, title)],
    prose: ["message", "title", "sectionTitle", "remediation", "expectedResult"],
    ...(node === "" ? {} : { resource: { apiVersion: "v1", kind: "Node", name: node } }),
    details: withoutEmpty({
      testNumber: number,
      title,
      status,
      scored,
      type: textAt(result, "type"),
      benchmark,
      nodeType,
      node,
      section: section.number,
      sectionTitle: section.title,
      remediation: textAt(result, "remediation"),
      expectedResult: textAt(result, "expected_result"),
      reason: textAt(result, "reason"),
    }),
    identity: withoutEmpty({ node, benchmark, nodeType, testNumber: firstText(number, title) }),
  };
}
