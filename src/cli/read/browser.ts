/** Opens the page in the user's browser, without showing its address to other users of the machine. */
import { errorMessage } from "../../model/error_message.ts";

/**
 * Everybody on a machine can read the words of a command line, and a token in them. So the browser is given a file that only
 * this user can read and that leads to the address. It is deleted after 30 s, when a slow browser has read it too, or at a
 * signal. A shell that does not trap a signal dies of it without running its EXIT trap. It runs a trap at once only while it
 * waits for a background job, so `sleep` and the opener run in the background. The EXIT trap ignores further signals: after
 * Ctrl-C, which reaches the shell too, the program sends it another.
 */
const SCRIPT = `set -e
umask 077
sleep 30 > /dev/null 2>&1 & pause=$!
folder=
trap 'trap "" HUP INT TERM; kill "$pause" 2> /dev/null || :; [ -z "$folder" ] || rm -r "$folder"' EXIT
trap 'trap "" HUP INT TERM; exit 0' HUP INT TERM
folder=$(mktemp -d "\${TMPDIR:-/tmp}/zen-watcher-XXXXXX")
cat > "$folder/open.html"
"$1" "$folder/open.html" & wait "$!"
wait "$pause"`;

const OPENERS: Readonly<Record<string, string>> = { darwin: "open", linux: "xdg-open" };

/** Opens `address` in the background; `note` takes why that fails. Disposing deletes what was made for it. */
export function openBrowser(address: string, note: (text: string) => void): AsyncDisposable {
  const stop = new AbortController();
  const opened = open(address, stop.signal).catch((error) => {
    if (stop.signal.aborted) return;
    note(`Cannot open the browser: ${errorMessage(error)}. Open the address by hand`);
  });
  return {
    [Symbol.asyncDispose]() {
      stop.abort();
      return opened;
    },
  };
}

async function open(address: string, signal: AbortSignal): Promise<void> {
  // On Windows only the same user and administrators can read the words of a command line.
  const isWindows = Deno.build.os === "windows";
  const opener = OPENERS[Deno.build.os] ?? "xdg-open";
  const [program, ...args] = isWindows
    ? ["cmd", "/c", "start", address] as const
    : ["sh", "-c", SCRIPT, "sh", opener] as const;
  const child = new Deno.Command(program, { args, stdin: "piped", stdout: "null", stderr: "piped", signal })
    .spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(isWindows ? "" : pageThatLeadsTo(address)));
  await writer.close();
  // Not its output: a browser that runs on keeps that open.
  const { success } = await child.status;
  if (success) return await child.stderr.cancel();
  throw new Error((await new Response(child.stderr).text()).trim() || `"${program}" ended with an error`);
}

function pageThatLeadsTo(address: string): string {
  return `<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0;url=${address}">` +
    `<title>zen-watcher</title><a href="${address}">Open the page</a>\n`;
}
