import { assertEquals, assertThrows } from "@std/assert";
import { ALL_SETTINGS, readSettings, SETTINGS, SettingsError } from "./settings.ts";
import { anyText } from "./text/setting.ts";

function read(env: Readonly<Record<string, string>>) {
  return readSettings((name) => env[name]);
}

Deno.test("readSettings() refuses intervals that would be no pause: nothing, and longer than a timer can wait", () => {
  for (const name of ["RESYNC_INTERVAL", "GC_INTERVAL", "GC_TIMEOUT", "DISCOVERY_INTERVAL"]) {
    for (const [value, why] of [["0", "above 0"], ["0.0001s", "a duration"], ["25d", "at most 24 days"]]) {
      const error = assertThrows(() => read({ [name]: value ?? "" }), SettingsError, why);
      assertEquals(error.message.includes(`"${name}"`), true);
    }
  }
  assertThrows(() => read({ CONFIGMAP_POLL_INTERVAL_SECONDS: "2200000" }), SettingsError, "2147483");
  assertEquals(read({ GC_INTERVAL: "24d" }).gcIntervalMs, 24 * 86_400_000);
  assertEquals(read({ SHUTDOWN_DELAY: "0s" }).shutdownDelayMs, 0);
});

Deno.test("readSettings() reads every default: the program's own by name, those of sources by their declaration", () => {
  const { of, ...own } = read({});
  assertEquals(Object.keys(own).sort(), Object.keys(SETTINGS).sort());
  for (const setting of ALL_SETTINGS) assertEquals(of(setting), setting.parse(setting.fallback));
  const variables = ALL_SETTINGS.map(({ env }) => env);
  assertEquals(variables.length, new Set(variables).size, "each variable is declared once");
  assertThrows(() => of(anyText("UNDECLARED", "", "")), Error, "no source lists it");
});

const UNUSABLE: readonly (readonly [name: string, value: string, why: string])[] = [
  ...["POD_NAMESPACE", "OBSERVATION_NAMESPACE", "KUBE_BENCH_NAMESPACE", "CHECKOV_NAMESPACE"].map((name) =>
    [name, "Team_A", "lower-case letters"] as const
  ),
  ["FILTER_CONFIGMAP_NAMESPACE", "a.b", "lower-case letters"],
  ["WATCH_NAMESPACE", "shop;pay", '"shop;pay"'],
  ["TRUSTED_CONFIG_NAMESPACES", "shop,-pay", '"-pay"'],
  ["INSTANCE", "Shard A", "lower-case letters"],
  ["OBSERVATION_MAX_BYTES", "0", "above 0"],
  ["WEBHOOK_MAX_BYTES", "0MiB", "above 0"],
  ["DEDUP_WINDOW_BY_SOURCE", "my tool=30", "falco=120"],
];

for (const [name, value, why] of UNUSABLE) {
  Deno.test(`readSettings() refuses ${name}="${value}": it would never do what it says`, () => {
    const error = assertThrows(() => read({ [name]: value }), SettingsError, why);
    assertEquals(error.message.includes(`"${name}"`), true);
  });
}

Deno.test("readSettings() takes lists of namespaces and sources in any case", () => {
  assertEquals(read({ WATCH_NAMESPACE: " shop, pay-2 ," }).watchNamespaces, ["shop", "pay-2"]);
  assertEquals([...read({ DEDUP_WINDOW_BY_SOURCE: "Falco=120" }).dedupWindowBySource], [["falco", 120]]);
});

Deno.test("readSettings() refuses TLS files that nothing would use", () => {
  const [cert, key, ca] = ["TLS_CERT_FILE", "TLS_KEY_FILE", "TLS_CLIENT_CA_FILE"].map((name) => ({
    [name]: "/tls/file",
  }));
  for (const given of [{ ...cert }, { ...key }, { ...ca }, { ...cert, ...ca }]) {
    assertThrows(() => read(given), SettingsError, "of no use without");
  }
  assertEquals(read({ ...cert, ...key, ...ca }).tlsClientCaFile, "/tls/file");
});
