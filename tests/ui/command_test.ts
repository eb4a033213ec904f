/** The command `zen-watcher ui` as a user runs it, and the page that it serves. */
/// <reference no-default-lib="true" />
/// <reference lib="esnext" />
/// <reference lib="dom" />
import { assertEquals } from "@std/assert";
import { linesOf } from "../../scripts/support/lines.ts";
import { startDevWorld } from "../support/dev_world.ts";
import { eventually } from "../support/eventually.ts";
import { store, STORED } from "./support/stored.ts";
import { launchBrowser } from "./support/tab.ts";

const MAIN = new URL("../../main.ts", import.meta.url).pathname;
/** Stands in for the system's opener: it keeps what a browser would be given. */
const OPENER = '#!/bin/sh\ncp "$1" "$KEPT.part" && mv "$KEPT.part" "$KEPT"\n';

Deno.test("page: the command prints an address that opens the page, and Ctrl-C ends it", async () => {
  await using world = await startDevWorld();
  await store(world, STORED);
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", MAIN, "ui", "--no-open", "--kubeconfig", world.kubeconfig],
    stdin: "null",
    stdout: "piped",
  }).spawn();
  const browser = await launchBrowser();
  try {
    const lines = linesOf(child.stdout);
    const { value: address = "" } = await lines.next();
    const page = await browser.newPage();
    await page.goto(address.trim());
    await page.locator(".figure.all b", { hasText: /^9$/ }).waitFor();
    assertEquals(new URL(page.url()).hash, "", "the token left the address bar");
    child.kill("SIGINT");
    for await (const _ of lines); // Until it has ended.
    assertEquals((await child.status).code, 0);
    await page.locator(".live", { hasText: "Cut off since" }).waitFor();
  } finally {
    await browser.close();
  }
});

Deno.test("page: the file that the command gives to the browser leads to the page", async () => {
  await using world = await startDevWorld();
  await store(world, STORED);
  const folder = await Deno.makeTempDir({ prefix: "zen-open-" });
  for (const name of ["xdg-open", "open"]) {
    await Deno.writeTextFile(`${folder}/${name}`, OPENER, { mode: 0o755 });
  }
  const kept = `${folder}/kept.html`;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", MAIN, "ui", "--open", "--kubeconfig", world.kubeconfig],
    env: { PATH: `${folder}:${Deno.env.get("PATH") ?? ""}`, TMPDIR: folder, KEPT: kept },
    stdin: "null",
    stdout: "null",
  }).spawn();
  const browser = await launchBrowser();
  try {
    await eventually("the file", () => Deno.stat(kept).then(() => true));
    const page = await browser.newPage();
    await page.goto(`file://${kept}`);
    await page.locator(".figure.all b", { hasText: /^9$/ }).waitFor();
    assertEquals(new URL(page.url()).hash, "");
  } finally {
    await browser.close();
    child.kill("SIGINT");
    await child.status;
    await Deno.remove(folder, { recursive: true });
  }
});
