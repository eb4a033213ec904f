/** Another page in the reader's browser attacks the server part: it reads nothing, writes nothing, and spends no token. */
/// <reference no-default-lib="true" />
/// <reference lib="esnext" />
/// <reference lib="dom" />
import { assert, assertEquals } from "@std/assert";
import { openTab, type WorldTab } from "./support/tab.ts";

/** A site of its own on another port of the same host, as any web page or another program of the machine is. */
function serveSite(): { readonly url: string } & AsyncDisposable {
  const page = "<!doctype html><title>site</title><h1>A site</h1>";
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    () => new Response(page, { headers: { "content-type": "text/html" } }),
  );
  return { url: `http://127.0.0.1:${server.addr.port}/`, [Symbol.asyncDispose]: () => server.shutdown() };
}

/** What each attack gets; "refused" is what it should get. */
async function attack(target: string): Promise<Record<string, string>> {
  const got: Record<string, string> = {};
  async function attempt(name: string, act: () => Promise<string>): Promise<void> {
    got[name] = await act().catch(() => "refused");
  }
  async function read(path: string, init: RequestInit = {}): Promise<string> {
    const answer = await fetch(target + path, init);
    return `read ${answer.status} ${answer.type} ${await answer.text()}`;
  }
  const paths = [
    "/",
    "/page.js",
    "/api/state",
    "/api/overview",
    "/api/findings",
    "/api/events",
    "/api/exceptions",
  ];
  for (const path of paths) await attempt(`fetch ${path}`, () => read(path));
  await attempt("fetch with a secret", () => read("/api/overview", { headers: { "x-zen-secret": "a" } }));
  await attempt("fetch with credentials", () => read("/api/overview", { credentials: "include" }));
  await attempt("post a token", () => read("/api/session", { method: "POST", body: '{"token":"a"}' }));
  await attempt("post an exception", () => read("/api/exceptions", { method: "POST", body: "{}" }));
  await attempt("delete", () => read("/api/exceptions/shop/a", { method: "DELETE" }));
  await attempt("script", () =>
    new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = `${target}/page.js`;
      script.onload = () => resolve("ran");
      script.onerror = reject;
      document.head.append(script);
    }));
  await attempt("event source", () =>
    new Promise((resolve, reject) => {
      const source = new EventSource(`${target}/api/events`);
      source.onopen = () => resolve("opened");
      source.onerror = () => {
        source.close();
        reject();
      };
    }));
  await attempt("ask the page's tabs for the secret", () =>
    new Promise((resolve, reject) => {
      const tabs = new BroadcastChannel("zen-watcher-secret");
      tabs.onmessage = ({ data }) => resolve(JSON.stringify(data));
      tabs.postMessage("ask");
      // A tab of the page itself is answered within this time, or says that it has no session.
      setTimeout(reject, 500);
    }));
  await attempt("frame", () =>
    new Promise((resolve, reject) => {
      const frame = document.createElement("iframe");
      frame.onload = () => {
        try {
          const text = frame.contentDocument?.body.innerHTML;
          // An error page of the browser is another origin, too: no document.
          if (text === undefined) reject();
          else resolve(`read ${text}`);
        } catch {
          reject();
        }
      };
      frame.src = `${target}/`;
      document.body.append(frame);
    }));
  return got;
}

Deno.test("page: another site in the same browser can read, write and embed nothing", async () => {
  await using site = serveSite();
  await using tab = await openTab();
  const address = tab.ui.server.address();
  const before = tab.world.server.requests.count({
    verb: ["create", "delete"],
    path: "observationexceptions",
  });
  const attacker = await tab.page.context().newPage();
  await attacker.goto(site.url);
  const got = await attacker.evaluate(attack, tab.origin);
  assertEquals(Object.entries(got).filter(([, result]) => result !== "refused"), []);
  assert(Object.keys(got).length > 12);
  // A form needs no permission to send: its answer is a refusal.
  const submitted = attacker.waitForResponse((answer) => answer.url().includes("/api/session"));
  await attacker.evaluate((target) => {
    const form = document.createElement("form");
    form.method = "post";
    form.action = `${target}/api/session`;
    document.body.append(form);
    form.submit();
  }, tab.origin);
  assert([401, 403].includes((await submitted).status()));
  // The attacker cannot reach into a window that it opens.
  const opener = await tab.page.context().newPage();
  await opener.goto(site.url);
  const popup = opener.waitForEvent("popup");
  await opener.evaluate(
    (target) => void Object.assign(globalThis, { opened: open(target, "_blank") }),
    tab.origin,
  );
  await (await popup).waitForLoadState();
  const reached = await opener.evaluate(() => {
    const { opened } = globalThis as unknown as { opened: Window | null };
    try {
      return opened?.document.body.innerHTML ?? "";
    } catch {
      return "";
    }
  });
  assertEquals(reached, "");
  const after = tab.world.server.requests.count({
    verb: ["create", "delete"],
    path: "observationexceptions",
  });
  assertEquals(after, before, "nothing was written");
  await opens(tab, address);
});

/** An address that was not spent still opens the page. */
async function opens(tab: WorldTab, address: string): Promise<void> {
  const page = await (await tab.browser.newContext()).newPage();
  await page.goto(address);
  await page.locator("#view-title", { hasText: "Overview" }).waitFor();
}

Deno.test("page: a foreign name that resolves to this machine is refused (DNS rebinding)", async () => {
  await using tab = await openTab({ arguments: ["--host-resolver-rules=MAP rebind.test 127.0.0.1"] });
  const address = tab.ui.server.address();
  const { port } = tab.ui.server;
  const attacker = await (await tab.browser.newContext()).newPage();
  for (const path of ["/", "/page.js", "/api/state"]) {
    const answer = await attacker.goto(`http://rebind.test:${port}${path}`);
    assertEquals(answer?.status(), 421, path);
  }
  const exchanged = await attacker.evaluate(async (token) => {
    const answer = await fetch("/api/session", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ token }),
    });
    return answer.status;
  }, new URL(address).hash.slice("#token=".length));
  assertEquals(exchanged, 421);
  await opens(tab, address);
});
