import { assertEquals, assertThrows } from "@std/assert";
import { readSettings, SETTINGS, SettingsError } from "./settings.ts";

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

Deno.test("readSettings() reads every default", () => {
  assertEquals(Object.keys(read({})).sort(), Object.keys(SETTINGS).sort());
});
