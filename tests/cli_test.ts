import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { parse } from "yaml";
import { fileURLToPath } from "node:url";
import { CommandError, type Io, processIo } from "../src/cli/io.ts";
import { main } from "../src/cli/main.ts";
import { readLiveConfig } from "../src/cli/operate/live_config.ts";
import { readRbac, renderRbac } from "../src/cli/operate/rbac.ts";
import type { Observation } from "../src/model/observation.ts";
import type { KubeObject } from "../src/kube/api.ts";
import { readSettings, type Settings } from "../src/settings.ts";
import { SOURCES } from "../src/sources/registry.ts";
import { startController } from "../scripts/support/controller.ts";
import { apiServer, status } from "./support/api_server.ts";
import { startDevWorld } from "./support/dev_world.ts";
import { eventually } from "./support/eventually.ts";
import { kubeconfigOf } from "./support/readers.ts";
import { ScriptedApi } from "./support/scripted_api.ts";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const NOW = Date.parse("2026-11-22T06:00:00Z");

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs a command over files of the repository and files made up here. */
async function zen(
  args: readonly string[],
  files: Readonly<Record<string, string>> = {},
  env: Readonly<Record<string, string>> = {},
): Promise<Ran> {
  let out = "";
  let err = "";
  const io: Io = {
    readText: (path) => path in files ? Promise.resolve(files[path] ?? "") : processIo.readText(path),
    async listFolder(path) {
      if (path in files) return undefined;
      const inside = Object.keys(files).filter((file) => file.startsWith(`${path}/`));
      return inside.length > 0 ? inside : await processIo.listFolder(path);
    },
    stdout: (text) => out += text,
    stderr: (text) => err += text,
    env: (name) => env[name],
    now: () => NOW,
  };
  const code = await main(args, {
    io,
    settings: () => readSettings(io.env),
    run: ({ settings: _, ...flags }) => {
      out += `run ${JSON.stringify(flags)}\n`;
      return Promise.resolve(0);
    },
  });
  return { code, out, err };
}

const ALERT = JSON.stringify({
  rule: "Terminal shell in container",
  priority: "Notice",
  time: "2026-11-22T05:59:00Z",
  output: "A shell was spawned",
  output_fields: { "k8s.ns.name": "shop", "k8s.pod.name": "web" },
});

Deno.test("main() exits with 2 after a wrong call and suggests the right one", async () => {
  const rows: [string[], string][] = [
    [
      ["explan"],
      `Cannot run "zen-watcher": unknown command 'explan' (Did you mean explain?). See zen-watcher --help`,
    ],
    [["frobnicate"], `Cannot run "zen-watcher": unknown command 'frobnicate'. See zen-watcher --help`],
    [
      ["--kubeconfig", "x"],
      `Cannot run "zen-watcher": unknown option '--kubeconfig'. See zen-watcher --help`,
    ],
    [["check"], 'Cannot run "zen-watcher check": expected -f FILE, or --rbac. See zen-watcher check --help'],
    [
      ["check", "--filenam", "x"],
      `Cannot run "zen-watcher check": unknown option '--filenam' (Did you mean --filename?). ` +
      "See zen-watcher check --help",
    ],
    [
      ["check", "-f"],
      `Cannot run "zen-watcher check": option '-f, --filename <file>' argument missing. See zen-watcher check --help`,
    ],
    [
      ["check", "-f", "x", "-o", "xml"],
      `Cannot run "zen-watcher check": option '-o, --output <format>' argument 'xml' is invalid. ` +
      "Allowed choices are json, yaml. See zen-watcher check --help",
    ],
    [
      ["explain", "-f", "x"],
      'Cannot run "zen-watcher explain": expected --source NAME. See zen-watcher explain --help',
    ],
    [["explain", "--source", "trivvy", "-f", "x"], 'Cannot find source "trivvy": did you mean "trivy"?'],
    [["test"], 'Cannot run "zen-watcher test": expected DIR. See zen-watcher test --help'],
    [
      ["run", "now"],
      `Cannot run "zen-watcher run": too many arguments for 'run'. Expected 0 arguments but got 1: now. ` +
      "See zen-watcher run --help",
    ],
    [
      ["completion", "tcsh"],
      `Cannot run "zen-watcher completion": command-argument value 'tcsh' is invalid for argument 'shell'. ` +
      "Allowed choices are bash, zsh, fish, kubectl. See zen-watcher completion --help",
    ],
  ];
  for (const [args, err] of rows) {
    assertEquals(await zen(args), { code: 2, out: "", err: `${err}\n` }, args.join(" "));
  }
});

Deno.test("main() without arguments runs the controller in a Pod, and prints the help elsewhere", async () => {
  const inPod = await zen([], {}, { KUBERNETES_SERVICE_HOST: "10.0.0.1" });
  assertEquals(inPod, { code: 0, out: "run {}\n", err: "" });
  const elsewhere = await zen([]);
  assertEquals([elsewhere.code, elsewhere.err], [0, ""]);
  assertMatch(elsewhere.out, /^Usage: zen-watcher /);
  assertEquals(
    (await zen(["run", "--kubeconfig", "k", "--context=c"])).out,
    'run {"kubeconfig":"k","context":"c"}\n',
  );
});

Deno.test("run sends every request as the user of --as, in the groups of --as-group", async () => {
  await using server = apiServer(() => status(404));
  await using file = await kubeconfigOf(server.url);
  await using _controller = await startController({
    kubeconfig: file.path,
    args: ["--as", "jane", "--as-group", "devs", "--as-uid", "7"],
    waitReady: false,
  });
  await eventually("the first lists", () => server.seen.some(({ path }) => path.endsWith("/observations")));
  const user = ["impersonate-user", "impersonate-group", "impersonate-uid"];
  for (const { path, headers } of server.seen) {
    assertEquals([path, ...user.map((name) => headers.get(name))], [path, "jane", "devs", "7"]);
  }
});

Deno.test("every command has a help with examples that it takes, and is in the list of commands", async () => {
  const list = (await zen(["--help"])).out;
  const commands = [...list.matchAll(/^ {2}([a-z]+) [[<]/gm)].map(([, name = ""]) => name);
  assert(commands.length >= 6, list);
  for (const name of commands.filter((each) => each !== "help")) {
    const { code, out, err } = await zen([name, "--help"]);
    assertEquals([code, err], [0, ""]);
    assertMatch(out, new RegExp(`^Usage: zen-watcher ${name}`));
    assertEquals((await zen(["help", name])).out, out);
    const [, examples = ""] = out.split("Examples:\n");
    const lines = [...examples.matchAll(/^ {2}zen-watcher ([^\n]*)$/gm)].map(([, line = ""]) => line);
    assert(lines.length >= 2, `${name} has ${lines.length} examples`);
    for (const line of lines) {
      const flags = line.split(/ [>&|]/)[0]?.split(" ").filter((word) =>
        word.startsWith("-") && word !== "-"
      ) ?? [];
      for (const flag of flags) assert(out.split("Examples:")[0]?.includes(flag), `${name} has no ${flag}`);
      assert(line.startsWith(name), line);
    }
  }
});

Deno.test("--version says the version, the commit and the Deno it runs on", async () => {
  const { code, out } = await zen(["--version"]);
  assertEquals(code, 0);
  assertMatch(out, /^zen-watcher \d+\.\d+\.\d+\S* \(commit \w+, deno \d+\.\d+\.\d+, \w+\/\w+\)\n$/);
  assertEquals((await zen(["version"])).out, out);
});

Deno.test("main() ends with 2 where a setting cannot be read, and names it", async () => {
  const { code, err } = await zen(["run"], {}, { WATCHER_PORT: "many" });
  assertEquals(code, 2);
  assertStringIncludes(err, 'Cannot read setting "WATCHER_PORT": expected a whole number');
});

Deno.test("every command that prints a report takes -o json and -o yaml, with = or without", async () => {
  const files = {
    "f.yaml": "sources: {a: {}}\n",
    "p.json": ALERT,
    "c.yaml": "source: falco\ninput: {rule: R}\nexpected: [{}]\n",
  };
  const commands = [
    ["check", "-f", "f.yaml"],
    ["explain", "--source=falco", "-f=p.json"],
    ["test", "-f", "c.yaml"],
    ["version"],
  ];
  for (const command of commands) {
    const json = await zen([...command, "-o", "json"], files);
    const yaml = await zen([...command, "-o=yaml"], files);
    assertEquals([json.code, yaml.code], [0, 0], json.err + yaml.err);
    assertEquals(parse(yaml.out), JSON.parse(json.out), command[0]);
  }
  const { out, code } = await zen(["test", "-f", "-", "-o", "json"], {
    "-": "source: falco\ninput: {rule: R}\nexpected: []\n---\nsorce: x\n",
  });
  const { cases, ...counts } = JSON.parse(out);
  assertEquals([code, counts], [1, { passed: 0, failed: 2 }]);
  assertEquals(cases[0], {
    file: "-",
    name: "case 1",
    passed: false,
    failures: ["expected 0 events, received 1: created"],
  });
  assertEquals(cases[1].name, null);
  assertStringIncludes(cases[1].failures.join("\n"), 'unknown key; did you mean "source"?');
});

Deno.test("-n sets the controller's namespace", async () => {
  const { out } = await zen(["explain", "--source", "falco", "-f", "p", "-n", "security", "-o", "json"], {
    p: JSON.stringify({ rule: "R", priority: "Error", output: "o" }),
  });
  assertEquals(JSON.parse(out).events[0].observation.metadata.namespace, "security");
  const ingester = {
    apiVersion: "zen.kube-zen.io/v1alpha1",
    kind: "Ingester",
    metadata: { name: "x" },
    spec: {
      source: "x",
      type: "configmap",
      configmap: { namespace: "team", labelSelector: "a=b", key: "k" },
      mapping: {},
    },
  };
  const files = { "i.json": JSON.stringify(ingester) };
  assertEquals((await zen(["check", "-f", "i.json"], files)).code, 1);
  assertEquals((await zen(["check", "-f", "i.json", "-n", "team"], files)).code, 0);
});

Deno.test("check shows each mistake with its line and a caret", async () => {
  const file = "sources:\n  trivy:\n    minSeverty: HIGH\n    includeKinds: []\n";
  assertEquals(await zen(["check", "-f", "f.yaml"], { "f.yaml": file }), {
    code: 1,
    out: "f.yaml: filter document\n1 document checked: 2 mistakes\n",
    err: [
      "f.yaml:4:19: at sources.trivy.includeKinds: expected at least one value (an absent key is no opinion), received an empty list",
      "        includeKinds: []",
      "                      ^",
      'f.yaml:3:5: at sources.trivy.minSeverty: unknown key; did you mean "minSeverity"?',
      "        minSeverty: HIGH",
      "        ^",
      "",
    ].join("\n"),
  });
});

Deno.test("check points into the text of a ConfigMap, and skips other kinds", async () => {
  const file = `apiVersion: v1
kind: Service
metadata: {name: other}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: zen-watcher-filter
data:
  filter.json: |
    {"sources": {
      "falco": {"minSeverity": "LOUD"}
    }}
`;
  assertEquals(await zen(["check", "-f", "m.yaml"], { "m.yaml": file }), {
    code: 1,
    out: 'm.yaml: Service "other" (skipped: not configuration), filter ConfigMap "zen-watcher-filter"\n' +
      "1 document checked, 1 of other kinds skipped: 1 mistake\n",
    err: [
      'm.yaml:12:32: at data["filter.json"]: sources.falco.minSeverity: expected one of CRITICAL|HIGH|MEDIUM|LOW|UNKNOWN, received "LOUD"',
      '          "falco": {"minSeverity": "LOUD"}',
      "                                   ^",
      "",
    ].join("\n"),
  });
});

/** An ObservationException, and what is wrong with it where `change` says so. */
function exceptionFile(change: object = {}): string {
  return JSON.stringify({
    apiVersion: "zen.kube-zen.io/v1alpha1",
    kind: "ObservationException",
    metadata: { name: "held", namespace: "shop" },
    spec: {
      match: { rules: ["CVE-2024-3094"] },
      reason: "accepted_risk",
      justification: "not loaded",
      expiresAt: "2027-01-31T00:00:00Z",
      ...change,
    },
  });
}

Deno.test("check reads ObservationExceptions, and warns of one that has expired", async () => {
  const check = (change: object = {}, env = {}) =>
    zen(["check", "-f", "e.json"], { "e.json": exceptionFile(change) }, env);
  assertEquals(await check(), {
    code: 0,
    out: 'e.json: ObservationException "held"\n1 document checked: 0 mistakes\n',
    err: "",
  });
  const wrong: readonly (readonly [change: object, said: string])[] = [
    [{ match: {} }, "at spec.match: expected rules, resources, or both"],
    [{ match: { rules: ["x"], workload: ["web"] } }, 'did you mean "workloads"?'],
    [{ expiresAt: undefined }, "at spec.expiresAt: expected a string, received nothing"],
    [{ reason: "because" }, "at spec.reason: expected one of not_affected|"],
    [{ expiresAt: "2029-01-01T00:00:00Z" }, "at most 365 days"],
  ];
  for (const [change, said] of wrong) {
    const { code, err } = await check(change);
    assertEquals(code, 1, said);
    assertStringIncludes(err, said);
  }
  assertStringIncludes((await check({}, { EXCEPTION_MAX_DAYS: "30" })).err, "at most 30 days");
  const misspelt = await check({ match: { rules: ["x"], sources: ["trvy"] } });
  assertEquals(misspelt.code, 0);
  assertStringIncludes(
    misspelt.err,
    'ObservationException shop/held: no source "trvy" is built in or defined by these files; did you mean "trivy"?',
  );
  const { code, err } = await check({ expiresAt: "2026-11-01T00:00:00Z" });
  assertEquals(code, 0);
  assertStringIncludes(err, "accepts nothing: it has expired");
});

Deno.test("explain shows the exception that would accept a finding, and nothing of one that matches it not", async () => {
  const explained = async (change: object) => {
    const { out } = await zen(
      [
        "explain",
        "--source",
        "trivy",
        "-f",
        "examples/rules/vulnerability-report.json",
        "--filters",
        "e.json",
        "-o",
        "json",
      ],
      { "e.json": exceptionFile(change) },
    );
    const { events } = JSON.parse(out);
    return events.flatMap(({ steps }: { steps: { step: string; verdict: string; detail: string }[] }) =>
      steps.filter(({ step }) => step === "exception")
    );
  };
  const [first] = JSON.parse(
    (await zen([
      "explain",
      "--source",
      "trivy",
      "-f",
      "examples/rules/vulnerability-report.json",
      "-o",
      "json",
    ])).out,
  ).events;
  const { rule, resource } = first.observation.spec;
  const spec = { match: { rules: [rule] } };
  const steps = await explained(resource.namespace === "shop" ? spec : { ...spec });
  assertEquals(steps.map(({ verdict }: { verdict: string }) => verdict), ["accepted"]);
  assertStringIncludes(
    steps[0].detail,
    "ObservationException shop/held until 2027-01-31T00:00:00Z: accepted_risk, not loaded",
  );
  assertEquals(await explained({ match: { rules: ["CVE-0"] } }), []);
  assertEquals(await explained({ ...spec, expiresAt: "2026-11-01T00:00:00Z" }), []);
});

Deno.test("check reads every kind, in Lists and NDJSON too", async () => {
  const filter = (spec: object) => ({
    apiVersion: "zen.kube-zen.io/v1alpha1",
    kind: "ObservationFilter",
    metadata: { name: "x" },
    spec,
  });
  const ingester = {
    apiVersion: "zen.kube-zen.io/v1alpha1",
    kind: "Ingester",
    metadata: { name: "x" },
    spec: { source: "falco", type: "webhook", webhook: { path: "/x" }, mapping: { message: ".m" } },
  };
  const list = { kind: "List", items: [filter({ targetSource: "*", minSeverity: "HIGH" }), ingester] };
  const ran = await zen(["check", "-f", "list.json", "-f", "lines.json", "-o", "json"], {
    "list.json": JSON.stringify(list),
    "lines.json": `${JSON.stringify(filter({ targetSource: "a" }))}\n${
      JSON.stringify(filter({ mode: "X" }))
    }\n`,
  });
  assertEquals(ran.code, 1);
  const { checked, problems } = JSON.parse(ran.out);
  assertEquals(checked, 4);
  assertEquals(problems.map(({ file, path, line }: Record<string, unknown>) => [file, path, line]), [
    ["list.json", "items[1].spec.source", 1],
    ["lines.json", "spec.targetSource", 2],
    ["lines.json", "spec.mode", 2],
  ]);
});

Deno.test("check reads the typed lists of an API server, whose items have no kind", async () => {
  const lists = {
    "f.json": JSON.stringify({
      apiVersion: "zen.kube-zen.io/v1alpha1",
      kind: "ObservationFilterList",
      items: [{ metadata: { name: "x" }, spec: { targetSource: "*", mode: "X" } }],
    }),
    "c.json": JSON.stringify({
      apiVersion: "v1",
      kind: "ConfigMapList",
      items: [{ metadata: { name: "zen-watcher-filter" }, data: { "filter.json": "{}" } }],
    }),
  };
  const ran = await zen(["check", "-f", "f.json", "-f", "c.json", "-o", "json"], lists);
  assertEquals(JSON.parse(ran.out).problems.map(({ path }: Record<string, unknown>) => path), [
    "items[0].spec.mode",
    'items[0].data["filter.json"]: sources',
  ]);
});

Deno.test("check names the kind of each document of examples/, and finds no mistake", async () => {
  const ran = await zen(["check", "-f", `${ROOT}examples`]);
  assertEquals([ran.code, ran.err], [0, ""]);
  const lines = ran.out.replaceAll(`${ROOT}examples/`, "").trimEnd().split("\n");
  for (
    const line of [
      'alertmanager.yaml: Ingester "alertmanager"',
      'cert-manager.yaml: ObservationMapping "cert-manager"',
      "rules/filters.yaml: filter document",
      "rules/falco.yaml: 2 test cases",
      'rules/vulnerability-report.json: VulnerabilityReport "replicaset-web-5d8f9c7b6f-app" ' +
      "(skipped: not configuration)",
    ]
  ) assert(lines.includes(line), ran.out);
  assertMatch(lines.at(-1) ?? "", /^\d+ documents checked, 8 of other kinds skipped: 0 mistakes$/);
  const { documents } = JSON.parse((await zen(["check", "-f", `${ROOT}examples`, "-o", "json"])).out);
  const files = (await processIo.listFolder(`${ROOT}examples`) ?? []).filter((file) => !file.endsWith(".md"));
  assertEquals([...new Set(documents.map(({ file }: { file: string }) => file))], files);
});

Deno.test("check shows all mistakes: of every document, of every key, and of an expression beside them", async () => {
  const file = [
    "sources: {falco: {minSeverity: LOUD, includeKinds: [], expression: severity = 1}}",
    "---",
    "sources: {trivy: [unclosed}",
    "---",
    "apiVersion: zen.kube-zen.io/v1",
    "kind: Ingester",
    "metadata: {name: x}",
    "spec: {source: Bad Name, type: webhook, rateLimit: {requestsPerSecond: none}, windows: 1}",
    "---",
    "name: a case",
    "source: trivvy",
    "inputFile: absent.json",
    "filtersFile: absent.yaml",
    "expected: []",
  ].join("\n");
  const { out, code } = await zen(["check", "-f", "f.yaml", "-o", "json"], { "f.yaml": file });
  assertEquals(code, 1);
  const { problems } = JSON.parse(out);
  const found = problems.map(({ path, line }: { path: string; line: number }) => `${line} ${path}`).sort();
  assertEquals(found, [
    "1 sources.falco.expression",
    "1 sources.falco.includeKinds",
    "1 sources.falco.minSeverity",
    "11 source",
    "12 inputFile",
    "13 filtersFile",
    "3 ",
    "3 ",
    "5 apiVersion",
    "8 spec.rateLimit.burst",
    "8 spec.rateLimit.requestsPerSecond",
    "8 spec.source",
    "8 spec.windows",
  ]);
});

Deno.test("check warns of a filter for a source that does not exist, and guesses which is meant", async () => {
  const files = { "f.json": '{"sources": {"falko": {"minSeverity": "HIGH"}, "*": {}, "trivy": {}}}' };
  const ran = await zen(["check", "-f", "f.json"], files);
  assertEquals(ran, {
    code: 0,
    out: "f.json: filter document\n1 document checked: 0 mistakes\n",
    err: 'Warning: f.json sources.falko: no source "falko" is built in or defined by these files; ' +
      'did you mean "falco"?\n',
  });
  const narrow =
    "sources: {falco: {includeCategories: [cost], includeEventTypes: [runtime-thread]}, kubearmor: {}}";
  assertEquals((await zen(["check", "-f", "n.yaml"], { "n.yaml": narrow })).err.trim().split("\n"), [
    'Warning: n.yaml sources.falco: falco reports nothing of the category "cost"',
    'Warning: n.yaml sources.falco: falco reports no event type "runtime-thread"; did you mean "runtime-threat"?',
  ]);
  const mapped = `sources: {cert-manager: {}}`;
  const both = ["check", "-f", "m.yaml", "-f", `${ROOT}examples/cert-manager.yaml`];
  assertEquals((await zen(both, { "m.yaml": mapped })).err, "");
});

Deno.test("check warns of a filter ConfigMap in a namespace that the controller does not read", async () => {
  const configMap = (metadata: string) =>
    `kind: ConfigMap\napiVersion: v1\nmetadata: {${metadata}}\ndata: {filter.json: '{"sources": {}}'}\n`;
  const off =
    "Warning: f.yaml ConfigMap NAME is off: zen-watcher reads the ConfigMap zen-system/zen-watcher-filter " +
    "(FILTER_CONFIGMAP_NAMESPACE, FILTER_CONFIGMAP_NAME)\n";
  const warnings: Readonly<Record<string, string>> = {
    "name: zen-watcher-filter": "",
    "name: zen-watcher-filter, namespace: zen-system": "",
    "name: zen-watcher-filter, namespace: shop": off.replace("NAME", "zen-watcher-filter"),
    "name: filters, namespace: zen-system": off.replace("NAME", "filters"),
  };
  for (const [metadata, warning] of Object.entries(warnings)) {
    const { code, err } = await zen(["check", "-f", "f.yaml"], { "f.yaml": configMap(metadata) });
    assertEquals([code, err], [0, warning], metadata);
  }
});

Deno.test("check reports that a payload is not configuration", async () => {
  const ran = await zen(["check", "-f", "alert.json"], { "alert.json": ALERT });
  assertEquals(ran.code, 1);
  assertStringIncludes(
    ran.err,
    "expected a filter document with the key sources, a test case with the key expected",
  );
});

/** What a terminal acts on, or an eye is misled by. */
const UNCLEAN = /(?![\n\t])\p{Cc}|[\p{Cf}\p{Zl}\p{Zp}]/u;

Deno.test("explain says which reports are not read, and why, in place of 0 events", async () => {
  const summary = { kind: "ClusterComplianceReport", metadata: { name: "cis" }, status: {} };
  const { code, out } = await zen(["explain", "--source", "trivy", "-f", "r.json"], {
    "r.json": JSON.stringify(summary),
  });
  assertEquals([code, out], [0, "no input: ClusterComplianceReport is a summary of others\n"]);
});

Deno.test("check, explain and test print no control, ANSI or bidi character of their input", async () => {
  const evil = "\u001b[2J\u001b]0;x\u0007\u009b1m\u202egnp\u2066\u200b\r\u2028";
  const yaml = JSON.stringify;
  const files = {
    [`f${evil}.yaml`]: `sources: {trivy: {${yaml(`key${evil}`)}: ${yaml(evil)}, minSeverity: ${yaml(evil)}}}`,
    "filter.yaml": yaml({ sources: { falco: { excludeRules: [`rule${evil}`] } } }),
    "alert.json": yaml({ ...JSON.parse(ALERT), rule: `rule${evil}`, output: evil }) + `\n{"a${evil}": `,
    "broken.json": `{"a": "${evil}`,
    "raw.yaml": `a: ${evil}\n  b: [${evil}`,
    "case.yaml": `${
      yaml({ name: `case ${evil}`, source: "falco", input: JSON.parse(ALERT), expected: [{ outcome: evil }] })
    }\n---\n${yaml({ source: `falco${evil}`, input: evil, expected: [] })}`,
    "kind.json": yaml({ apiVersion: `v1${evil}`, kind: `Kind${evil}`, metadata: { name: evil } }),
  };
  const calls = [
    ...Object.keys(files).map((file) => ["check", "-f", file]),
    ["check", evil],
    ["check", `--${evil}`],
    ["explain", "--source", "falco", "-f", "alert.json", "--filters", "filter.yaml"],
    ["explain", "--source", "falco", "-f", "broken.json"],
    ["explain", "--source", "falco", "-f", "raw.yaml"],
    ["explain", "--source", evil, "-f", "alert.json"],
    ["explain", "--source", "trivy", "-f", "kind.json"],
    ["test", "case.yaml"],
    ["test", "raw.yaml"],
    [evil],
  ];
  for (const call of calls) {
    for (
      const output of [[], ["-o", "json"], ["-o", "yaml"], ...(call[0] === "test" ? [["-o", "junit"]] : [])]
    ) {
      const { out, err } = await zen([...call, ...output], files);
      assert(out.length + err.length > 0, call.join(" "));
      assert(!UNCLEAN.test(out) && !UNCLEAN.test(err), JSON.stringify([call, output, out, err]));
      if (output[1] === "json" && out !== "") JSON.parse(out);
    }
  }
  // In JSON the text is whole: it is written as escapes.
  const { out } = await zen(["test", "case.yaml", "-o", "json"], files);
  assertEquals(JSON.parse(out).cases[0].name, `case ${evil}`);
});

Deno.test("explain shows each step of each event, its verdict, and the object", async () => {
  const ran = await zen(["explain", "--source", "falco", "-f", "-", "--filters", "f.yaml"], {
    "-": `${ALERT}\n${ALERT}`,
    "f.yaml": '{"sources": {"falco": {"minSeverity": "LOW"}, "*": {"excludeKinds": ["Node"]}}}',
  });
  assertEquals(ran.code, 0);
  const lines = ran.out.split("\n");
  assertEquals(lines.slice(0, 7).map((line) => line.replace(/fingerprint \w+/, "fingerprint …")), [
    "1. created",
    "   draw      drawn      runtime-threat on Pod shop/web, rule Terminal shell in container",
    "   normalize normalized source falco, severity LOW, category security, namespace shop, fingerprint …",
    "   filter    pass       f.yaml sources.*: every dimension passes",
    "   filter    pass       f.yaml sources.falco: every dimension passes",
    "   dedup     new        the first of its fingerprint",
    lines[6] ?? "",
  ]);
  assertStringIncludes(ran.out, "   | kind: Observation\n");
  assertStringIncludes(ran.out, "   dedup     duplicate  repeats shop/falco-");
  assert(ran.out.endsWith("falco: 2 events: 1 created, 1 deduped\n"));
});

Deno.test("explain -o json has the documented form", async () => {
  const ran = await zen(["explain", "--source=falco", "-f", "a.json", "--filters", "f.yaml", "-o", "json"], {
    "a.json": `[${ALERT}, {"not": "an alert"}]`,
    "f.yaml": "sources: {falco: {minSeverity: HIGH}}",
  });
  const { source, events: [event], errors: [error] } = JSON.parse(ran.out);
  assertEquals(source, "falco");
  assertEquals([event.outcome, event.reason, event.observation], ["filtered", "min_severity", null]);
  assertEquals(event.steps.at(-1), {
    step: "filter",
    verdict: "drop",
    detail: "f.yaml sources.falco: severity: LOW is below minSeverity HIGH",
  });
  assertEquals(Object.keys(error), ["reason", "path", "message"]);
});

Deno.test("explain reads reports kept by the names of their resources, some of which have none", async () => {
  const file =
    `${ROOT}tests/fixtures/sources/trivy/real/trivy-vulnerabilityreport/dd-all-reports-in-dict.json`;
  const ran = await zen(["explain", "--source=trivy", "-f", file, "-o", "json"]);
  const { events, errors } = JSON.parse(ran.out);
  assertEquals([ran.code, events.length, errors], [0, 43, []]);
});

Deno.test("explain reads YAML as kubectl does, and says where it is broken", async () => {
  const report = (title: string) =>
    [
      "apiVersion: aquasecurity.github.io/v1alpha1",
      "kind: ConfigAuditReport",
      "metadata: {name: r, namespace: shop}",
      "report:",
      "    checks:",
      "    - checkID: KSV001",
      "      success: false",
      title,
    ].join("\n");
  const explained = async (text: string) => {
    const ran = await zen(["explain", "--source", "trivy", "-f", "r.yaml", "-o", "json"], { "r.yaml": text });
    return JSON.parse(ran.out);
  };
  // The quoted title continues at the indentation of its key.
  const { events, errors } = await explained(report("      title: 'A:\n      b'\n      severity: LOW"));
  assertEquals([events[0]?.observation.spec.details.title, errors], ["A: b", []]);
  const broken = await explained(report("      title: [A"));
  assertEquals(broken.errors[0]?.path, "line 8, column 16");
});

Deno.test("explain reads the objects of a list that is too large to be parsed whole", async () => {
  const checks = Array.from(
    { length: 60_000 },
    () => ({ checkID: "KSV001", success: true, severity: "LOW" }),
  );
  const report = (name: string) => ({
    apiVersion: "aquasecurity.github.io/v1alpha1",
    kind: "ConfigAuditReport",
    metadata: { name, namespace: "shop" },
    report: { checks: [...checks, { checkID: "KSV002", success: false, severity: "LOW", messages: [name] }] },
  });
  const list = { apiVersion: "v1", kind: "List", items: ["a", "b", "c"].map(report) };
  const ran = await zen(["explain", "--source", "trivy", "-f", "l.json", "-o", "json"], {
    "l.json": JSON.stringify(list),
  });
  const { events, errors } = JSON.parse(ran.out);
  assertEquals([events.length, errors], [3, []]);
});

Deno.test("explain skips objects that a watch frame marks as deleted", async () => {
  const folder = `${ROOT}tests/fixtures/sources/`;
  const report = parse(await processIo.readText(`${folder}trivy/one-vulnerability/input.yaml`));
  const frames = (types: readonly string[]) =>
    types.map((type) => `${JSON.stringify({ type, object: report })}\n`).join("");
  const error = { type: "ERROR", object: { kind: "Status", metadata: {}, code: 410 } };
  const files = {
    "there.json": frames(["ADDED"]),
    "all.json": frames(["BOOKMARK", "DELETED", "ADDED", "DELETED"]) + JSON.stringify(error),
    "gone.json": frames(["DELETED"]),
  };
  const explained = async (source: string, file: string) => {
    const ran = await zen(["explain", "--source", source, "-f", file, "-o", "json"], files);
    return { ...ran, said: JSON.parse(ran.out) };
  };
  const there = await explained("trivy", "there.json");
  const all = await explained("trivy", "all.json");
  assert(there.said.events.length > 0);
  assertEquals(all.said.events, there.said.events);
  assertEquals(all.said.errors.map(({ reason }: { reason: string }) => reason), ["wrong_shape"]);
  assertStringIncludes(all.err, "Left out 2 deleted objects");
  for (const source of ["trivy", "kube-bench"]) {
    const gone = await explained(source, "gone.json");
    assertEquals([gone.code, gone.said.events, gone.said.errors], [0, [], []]);
  }
});

Deno.test("explain refuses a broken filter as check does", async () => {
  const ran = await zen(["explain", "--source", "falco", "-f", "a", "--filters", "f"], {
    a: ALERT,
    f: "sources: {falco: {mode: loud}}",
  });
  assertEquals(ran.code, 1);
  assertStringIncludes(
    ran.err,
    'Cannot load "f":\nf:1:25: at sources.falco.mode: expected one of Enforce|Shadow',
  );
});

Deno.test("explain applies an ObservationFilter as the server would, by its namespace", async () => {
  const filter = (namespace: string) => ({
    apiVersion: "zen.kube-zen.io/v1alpha1",
    kind: "ObservationFilter",
    metadata: { name: "x", namespace },
    spec: { targetSource: "*", enabled: false },
  });
  const alert = (priority: string) => JSON.stringify({ ...JSON.parse(ALERT), priority });
  const outcomes = async (namespace: string, { env = {}, args = [] }: {
    env?: Record<string, string>;
    args?: string[];
  } = {}) => {
    const files = {
      f: JSON.stringify(filter(namespace)),
      low: alert("Notice"),
      critical: alert("Critical"),
    };
    const call = [
      "explain",
      "--source",
      "falco",
      "-f",
      "low",
      "-f",
      "critical",
      "--filters",
      "f",
      "-o",
      "json",
    ];
    const { out, err } = await zen([...call, ...args], files, env);
    const { events } = JSON.parse(out) as { events: { outcome: string }[] };
    return [...events.map(({ outcome }) => outcome), err];
  };
  assertEquals(await outcomes("zen-system"), ["filtered", "filtered", ""]);
  assertEquals(await outcomes("shop"), [
    "created",
    "created",
    "f ObservationFilter x is off: its namespace shop is not the controller's, zen-system (-n), " +
    "and TENANT_FILTERS is not true\n",
  ]);
  const env = { TENANT_FILTERS: "true" };
  assertEquals(await outcomes("shop", { env }), ["filtered", "created", ""]);
  assertEquals(await outcomes("other", { env }), ["created", "created", ""]);
  assertEquals(await outcomes("shop", { args: ["-n", "shop"] }), ["filtered", "filtered", ""]);
});

Deno.test("explain refuses a --filters file without filters", async () => {
  const ran = await zen(["explain", "--source", "falco", "-f", "p", "--filters", "d.yaml"], {
    p: ALERT,
    "d.yaml": "apiVersion: apps/v1\nkind: Deployment\n",
  });
  assertEquals([ran.code, ran.err], [
    1,
    'Cannot load "d.yaml": it holds no filters, exception, Ingester or ObservationMapping\n',
  ]);
});

Deno.test("explain takes a source from its Ingester", async () => {
  const ran = await zen([
    "explain",
    "--source",
    "cert-manager",
    "--ingester",
    `${ROOT}examples/cert-manager.yaml`,
    "-f",
    `${ROOT}tests/fixtures/sources/mapped-cert-manager/not-ready/input.json`,
    "-o",
    "json",
  ]);
  assertEquals(ran.err, "");
  assertEquals(JSON.parse(ran.out).events[0].observation.spec.source, "cert-manager");
});

Deno.test("explain reads an Ingester that feeds a built-in source, and applies its filter to that feed", async () => {
  const door = {
    apiVersion: "zen.kube-zen.io/v1alpha1",
    kind: "Ingester",
    metadata: { name: "door" },
    spec: {
      source: "falco",
      type: "webhook",
      webhook: { path: "/ingest/falco" },
      filters: { minSeverity: "HIGH" },
    },
  };
  const files = { "door.json": JSON.stringify(door), "a.json": ALERT };
  const through = await zen(
    ["explain", "--source", "falco", "-f", "a.json", "--ingester", "door.json"],
    files,
  );
  assertStringIncludes(
    through.out,
    "Ingester zen-system/door spec.filters: severity: LOW is below minSeverity HIGH",
  );
  assertStringIncludes(
    (await zen(["explain", "--source", "falco", "-f", "a.json"], files)).out,
    "1. created",
  );
});

for (const { name } of SOURCES) {
  Deno.test(`explain makes of ${name}'s fixtures what the server makes of them`, async () => {
    const folder = `${ROOT}tests/fixtures/sources/${name}`;
    const files = await processIo.listFolder(folder) ?? [];
    const inputs = files.filter((file) =>
      /^[^/]+\/input\.(json|ya?ml|ndjson)$/.test(file.slice(folder.length + 1))
    );
    assert(inputs.length > 0);
    for (const input of inputs) {
      const ran = await zen(["explain", "--source", name, "-f", input, "-o", "json"]);
      const explained: { events: { outcome: string; observation: Observation | null }[] } = JSON.parse(
        ran.out,
      );
      const expected: { observations: Observation[] } = JSON.parse(
        await processIo.readText(input.replace(/input\.\w+$/, "expected.json")),
      );
      const created = explained.events.flatMap(({ observation }) => observation ?? []);
      assertEquals(created.length, expected.observations.length, input);
      // A bare result file is taken for a ConfigMap of the file's name, and nodes are named after it.
      if (name !== "kube-bench") assertEquals(specsOf(created), specsOf(expected.observations), input);
    }
  });
}

function specsOf(observations: readonly Observation[]): Record<string, unknown> {
  const entries = observations.map(({ metadata, spec }) => [`${metadata.namespace}/${metadata.name}`, spec]);
  return Object.fromEntries(entries);
}

Deno.test("test passes the example rules that ship", async () => {
  const ran = await zen(["test", `${ROOT}examples/rules`]);
  assertEquals([ran.code, ran.err], [0, ""], ran.out);
  assertStringIncludes(ran.out, " passed, 0 failed\n");
});

Deno.test("test shows what differs, and the steps of that event", async () => {
  const ran = await zen(["test", "rules"], {
    "rules/a.yaml": `
name: low is dropped
source: falco
input: ${ALERT}
filters: {sources: {falco: {minSeverity: LOW}}}
expected:
  - outcome: filtered
    reason: min_severity
---
source: falco
input: ${ALERT}
expected: []
errors: [{reason: unreadable}]
`,
  });
  assertEquals(ran.code, 1);
  const lines = ran.out.split("\n");
  assertEquals(lines.slice(0, 4), [
    "FAIL rules/a.yaml: low is dropped",
    '       event 1: outcome: expected "filtered", received "created"',
    '       event 1: reason: expected "min_severity", received null',
    "         draw drawn: runtime-threat on Pod shop/web, rule Terminal shell in container",
  ]);
  assertStringIncludes(
    ran.out,
    "FAIL rules/a.yaml: case 2\n       expected 0 events, received 1: created\n       expected 1 error, received 0\n",
  );
  assert(ran.out.endsWith("2 cases: 0 passed, 2 failed\n"));
});

Deno.test("test reports the mistakes of a case", async () => {
  const ran = await zen(["test", "rules"], {
    "rules/a.yaml": "source: falco\ninput: {}\ninputFile: x\nexpect: []\nexpected: []\n",
    "rules/b.yaml": "source: falco\ninput: {}\ninputFile: x\nexpected: []\n",
  });
  assertEquals(
    ran.out,
    [
      "FAIL rules/a.yaml",
      'rules/a.yaml:4:1: at expect: unknown key; did you mean "expected"?',
      "    expect: []",
      "    ^",
      "FAIL rules/b.yaml",
      "rules/b.yaml:1:1: expected one of input|inputFile|inputs, received 2",
      "    source: falco",
      "    ^",
      "2 cases: 0 passed, 2 failed",
      "",
    ].join("\n"),
  );
  assertEquals((await zen(["test", "x"], { "x/readme.md": "" })).code, 1);
});

Deno.test("test -o junit is what CI systems read", async () => {
  const { code, out } = await zen(["test", "rules", "-o", "junit"], {
    "rules/a.yaml":
      `name: 'a < "b" & c'\nsource: falco\ninput: ${ALERT}\nexpected: [{outcome: created}]\n---\n` +
      `source: falco\ninput: ${ALERT}\nexpected: []\n`,
    "rules/b.yaml": "source: [\n",
  });
  assertEquals(code, 1);
  const lines = out.split("\n");
  assertEquals(lines.slice(0, 6), [
    '<?xml version="1.0" encoding="UTF-8"?>',
    '<testsuites tests="3" failures="2">',
    '  <testsuite name="rules/a.yaml" tests="2" failures="1">',
    '    <testcase classname="rules/a.yaml" name="a &lt; &quot;b&quot; &amp; c"/>',
    '    <testcase classname="rules/a.yaml" name="case 2">',
    '      <failure message="expected 0 events, received 1: created">expected 0 events, received 1: created</failure>',
  ]);
  assertStringIncludes(out, '<testcase classname="rules/b.yaml" name="rules/b.yaml">');
});

Deno.test("explain --live takes the filters and Ingesters of the cluster that kubectl would use", async () => {
  await using world = await startDevWorld();
  const data = { "filter.json": JSON.stringify({ sources: { falco: { minSeverity: "HIGH" } } }) };
  await world.create([
    {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name: "zen-watcher-filter", namespace: "zen-system" },
      data,
    },
  ]);
  const files = { "alert.json": ALERT };
  const args = ["explain", "--source", "falco", "-f", "alert.json", "-o", "json"];
  const outcomeOf = async (call: readonly string[], env: Record<string, string>) => {
    const { code, out, err } = await zen([...args, ...call], files, env);
    assertEquals([code, err], [0, ""]);
    return JSON.parse(out).events[0].reason;
  };
  const env = { KUBECONFIG: world.kubeconfig };
  assertEquals(await outcomeOf(["--live"], env), "min_severity");
  assertEquals(await outcomeOf(["--kubeconfig", world.kubeconfig], {}), "min_severity");
  assertEquals(await outcomeOf(["--as", "jane"], env), "min_severity");
  assertEquals(await outcomeOf([], env), null, "off line without --live");
  const none = await zen([...args, "--live"], files, { KUBECONFIG: "/nonexistent" });
  assertEquals(none.code, 1);
  assertMatch(none.err, /^Cannot /);
});

Deno.test("readLiveConfig() reads the ConfigMap, the ObservationFilters and the Ingesters of a cluster", async () => {
  const api = new ScriptedApi();
  const settings = readSettings(() => undefined);
  assertEquals(await readLiveConfig(api, { settings }), { filters: [], mapped: [], missing: [] });
  api.put("configmaps", {
    metadata: { namespace: "zen-system", name: "zen-watcher-filter" },
    data: { "filter.json": "sources: {trivy: {minSeverity: HIGH}}" },
  });
  api.put("observationfilters", {
    metadata: { namespace: "zen-system", name: "x" },
    spec: { targetSource: "*", excludeKinds: ["Pod"] },
  });
  api.put("ingesters", { metadata: { namespace: "zen-system", name: "i" }, spec: {} });
  const live = await readLiveConfig(api, { settings });
  assertEquals(live.filters.map(({ name }) => name), [
    "ConfigMap zen-system/zen-watcher-filter sources.trivy",
    "ObservationFilter zen-system/x",
  ]);
  assertEquals(live.mapped.map(({ kind }) => kind), ["Ingester"]);
  const trusting = readSettings((name) => name === "TRUSTED_CONFIG_NAMESPACES" ? "team" : undefined);
  api.put("ingesters", { metadata: { namespace: "team", name: "t" }, spec: {} });
  api.put("ingesters", { metadata: { namespace: "shop", name: "s" }, spec: {} });
  const namesOf = async (settings: Settings) =>
    (await readLiveConfig(api, { settings })).mapped.map(({ metadata }) => metadata.name);
  assertEquals(await namesOf(settings), ["i"]);
  assertEquals(await namesOf(trusting), ["i", "t"]);
  const status = { conditions: [{ type: "Ready", status: "True", reason: "Active" }] };
  api.put("ingesters", { metadata: { namespace: "team", name: "t" }, spec: {}, status });
  assertEquals(await namesOf(settings), ["i", "t"], "the controller trusts the namespace");
  assertEquals(await namesOf(trusting), ["i", "t"]);
  api.put("observationfilters", {
    metadata: { namespace: "zen-system", name: "x" },
    spec: { targetSource: 1 },
  });
  await assertRejects(
    () => readLiveConfig(api, { settings }),
    CommandError,
    "at spec.targetSource: expected a string",
  );
});

Deno.test("readLiveConfig() takes a tenant's ObservationFilter as far as its status says that it is in force", async () => {
  const api = new ScriptedApi();
  const spec = { targetSource: "trivy", excludeRules: ["new"] };
  const ready = (status: string, reason: string) => ({ conditions: [{ type: "Ready", status, reason }] });
  const inForce = { inForce: { generation: 1, spec: { targetSource: "trivy", excludeRules: ["old"] } } };
  const tenants: readonly (readonly [name: string, fields: Partial<KubeObject>])[] = [
    ["a-loaded", { spec, status: ready("True", "Loaded") }],
    ["b-off", { spec }],
    ["c-broken", { spec: { targetSource: 1 }, status: { ...ready("False", "Invalid"), ...inForce } }],
    ["d-never-good", { spec: { targetSource: 1 }, status: ready("False", "Invalid") }],
    ["e-too-many", { spec, status: { ...ready("False", "LimitExceeded"), ...inForce } }],
  ];
  for (const [name, fields] of tenants) {
    api.put("observationfilters", { metadata: { namespace: "shop", name }, ...fields });
  }
  api.put("observationfilters", {
    metadata: { namespace: "pay", name: "f" },
    spec,
    status: ready("True", "Loaded"),
  });
  const settings = readSettings(() => undefined);
  const of = async (namespace?: string) => {
    const { filters, missing } = await readLiveConfig(api, { settings, namespace });
    assertEquals(missing, []);
    return filters.map(({ name, block, tenantNamespace }) => [name, block.excludeRules, tenantNamespace]);
  };
  const ofShop = [
    ["ObservationFilter shop/a-loaded", ["new"], "shop"],
    ["ObservationFilter shop/c-broken", ["old"], "shop"],
  ];
  assertEquals(await of("shop"), ofShop);
  assertEquals(await of(), [...ofShop, ["ObservationFilter pay/f", ["new"], "pay"]]);
  assertEquals(await of("zen-system"), []);
});

Deno.test("check --rbac prints the rules that are missing, for sources of Ingesters too", async () => {
  const api = new ScriptedApi();
  api.answerCreate((object) => {
    if (object.kind === "SelfSubjectReview") {
      return { ...object, status: { userInfo: { username: "anna", groups: [] } } };
    }
    const { resourceAttributes: { resource, verb } } = object.spec as {
      resourceAttributes: { resource: string; verb: string };
    };
    const denied = resource === "constraints" || resource === "leases" ||
      (resource === "policyreports" && verb !== "get");
    return { ...object, status: { allowed: !denied } };
  });
  const settings = readSettings(() => undefined);
  const ingester = {
    apiVersion: "zen.kube-zen.io/v1alpha1",
    kind: "Ingester",
    metadata: { name: "x", namespace: "zen-system" },
    spec: {
      source: "x",
      type: "informer",
      informer: { group: "a.test", version: "v1", resource: "constraints" },
      mapping: { message: ".m" },
    },
  };
  const report = await readRbac({ api, settings, mapped: [ingester] });
  const [head = "", ...roles] = renderRbac(report).split("---\n");
  assertMatch(head, /^anna may not do 10 of \d+ things zen-watcher needs\. Missing rules:\n$/);
  assertEquals(roles.map((role) => parse(role)), [
    {
      apiVersion: "rbac.authorization.k8s.io/v1",
      kind: "ClusterRole",
      metadata: { name: "zen-watcher-missing" },
      rules: [
        { apiGroups: ["wgpolicyk8s.io"], resources: ["policyreports"], verbs: ["list", "watch"] },
        { apiGroups: ["a.test"], resources: ["constraints"], verbs: ["get", "list", "watch"] },
      ],
    },
    {
      apiVersion: "rbac.authorization.k8s.io/v1",
      kind: "Role",
      metadata: { name: "zen-watcher-missing", namespace: "zen-system" },
      rules: [
        { apiGroups: ["coordination.k8s.io"], resources: ["leases"], verbs: ["create"] },
        {
          apiGroups: ["coordination.k8s.io"],
          resources: ["leases"],
          resourceNames: ["zen-watcher-leader-election"],
          verbs: ["get", "list", "watch", "update"],
        },
      ],
    },
  ]);
  api.answerCreate((object) => ({ ...object, status: { allowed: true } }));
  assertStringIncludes(renderRbac(await readRbac({ api, settings, mapped: [] })), "this user may do all ");
});

Deno.test("check --rbac looks up the plural of an ObservationMapping's kind, and reports a kind without one", async () => {
  const api = new ScriptedApi();
  api.answerCreate((object) => {
    const { resourceAttributes } = (object.spec ?? {}) as { resourceAttributes?: { resource: string } };
    return { ...object, status: { allowed: resourceAttributes?.resource !== "accesspolicies" } };
  });
  const resources = [
    { name: "accesspolicies", kind: "AccessPolicy", namespaced: true, verbs: ["get", "list", "watch"] },
  ];
  Object.assign(api, { getPath: () => Promise.resolve({ resources }) });
  const mapping = (kind: string) => ({
    apiVersion: "zen.kube-zen.io/v1alpha1",
    kind: "ObservationMapping",
    metadata: { name: "x", namespace: "zen-system" },
    spec: { sourceName: kind.toLowerCase(), group: "a.test", version: "v1", kind, mappings: {} },
  });
  const mapped = [mapping("AccessPolicy"), mapping("Absent")];
  const report = await readRbac({ api, settings: readSettings(() => undefined), mapped });
  assertEquals([report.denied, report.missing], [3, [{
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "ClusterRole",
    metadata: { name: "zen-watcher-missing" },
    rules: [{ apiGroups: ["a.test"], resources: ["accesspolicies"], verbs: ["get", "list", "watch"] }],
  }]]);
  assertEquals(report.unknown, [
    "Cannot tell which right source absent needs: the API server does not serve Absent of a.test/v1",
  ]);
});

Deno.test("explain tells logs, binaries and broken JSON from YAML by how they begin, and reads YAML in every style", async () => {
  const explain = (text: string) => zen(["explain", "--source", "trivy", "-f", "x"], { x: text });
  const lines = (line: string) => line.repeat(Math.ceil((8 * 2 ** 20) / line.length));
  // The parser of YAML would take half a minute for each of these.
  const others = [
    `{\n  "items": [\n${lines('    {\n      "a": "b"\n    },\n')}`,
    lines("2026-11-01T00:00:00Z INFO something happened: yes\n"),
    lines("lorem ipsum dolor sit amet\n"),
    lines("QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo"),
  ];
  for (const text of others) {
    const { code, out, err } = await explain(text);
    assertEquals(code, 1);
    assertStringIncludes(out + err, "error{unreadable}");
  }
  const read = "1 error";
  for (const text of ["{a: b}", "# a comment\n---\na: b\n", '"a": b\n', "a:\n  b: 1\n"]) {
    const { out, err } = await explain(text);
    assertStringIncludes(out + err, "wrong_shape", text);
    assertStringIncludes(out + err, read);
  }
});

Deno.test("a command names every mandatory flag that is missing, not the first alone", async () => {
  assertEquals(
    (await zen(["accept", "--rule", "CVE-2024-3094", "--dry-run"])).err,
    'Cannot run "zen-watcher accept": expected --reason <reason>, --justification <text>, --expires <time>. ' +
      "See zen-watcher accept --help\n",
  );
  assertStringIncludes(
    (await zen(["accept", "--rule", "x", "--reason", "mitigated"])).err,
    "expected --justification <text>, --expires <time>. See",
  );
});
