/** Opens the page in the user's browser, without showing its address to other users of the machine. */
import { errorMessage } from "../../model/error_message.ts";

/**
 * Everybody on a machine can read the words of a command line, and a token in them. So the browser is given a file that only
 * this user can read and that leads to the address; it is deleted when a slow browser has read it too.
 */
const SCRIPT = `set -e
umask 077
folder=$(mktemp -d "\${TMPDIR:-/tmp}/zen-watcher-XXXXXX")
trap 'rm -r "$folder"' EXIT
cat > "$folder/open.html"
"$1" "$folder/open.html"
sleep 30`;

const OPENERS: Readonly<Record<string, string>> = { darwin: "open", linux: "xdg-open" };

/** Opens `address` in the background; `note` takes why that fails. */
export function openBrowser(address: string, note: (text: string) => void): void {
  open(address).catch((error) =>
    note(`Cannot open the browser: ${errorMessage(error)}. Open the address by hand`)
  );
}

async function open(address: string): Promise<void> {
  if (Deno.build.os === "windows") return await run(["cmd", "/c", "start", address], "");
  const opener = OPENERS[Deno.build.os] ?? "xdg-open";
  await run(["sh", "-c", SCRIPT, "sh", opener], pageThatLeadsTo(address));
}

async function run([program = "", ...args]: readonly string[], input: string): Promise<void> {
  const child = new Deno.Command(program, { args, stdin: "piped", stdout: "null", stderr: "piped" }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  const { success, stderr } = await child.output();
  if (!success) {
    throw new Error(new TextDecoder().decode(stderr).trim() || `"${program}" ended with an error`);
  }
}

function pageThatLeadsTo(address: string): string {
  return `<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0;url=${address}">` +
    `<title>zen-watcher</title><a href="${address}">Open the page</a>\n`;
}
