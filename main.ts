/** zen-watcher: arguments → command → exit code. */
import { main } from "./src/cli/main.ts";
import { commandLine, readSettings } from "./src/settings.ts";

if (import.meta.main) {
  Deno.exit(await main(commandLine(), { settings: readSettings }));
}
