/** docs/reading.md: each command that is followed by its output prints that. */
import { assert, assertEquals } from "@std/assert";
import { readPage } from "./support/docs.ts";
import { addFilters, startWorld, zen } from "./support/readers.ts";

Deno.test("every command of docs/reading.md prints what the page shows", async () => {
  const { text } = await readPage("docs/reading.md");
  await using world = await startWorld();
  await addFilters(world);
  const shown = [...text.matchAll(/```sh\nzen-watcher (.*)\n```\n\n```text\n([^]*?)```/g)];
  assert(shown.length >= 10, `${shown.length} commands`);
  for (const [, line = "", printed] of shown) {
    const { out, err } = await zen(line.split(" "), world);
    // The command in an export names the kubeconfig of this test.
    assertEquals((out + err).replaceAll(` --kubeconfig ${world.kubeconfig}`, ""), printed, line);
  }
});

Deno.test("every command of docs/auditors.md runs", async () => {
  const { text } = await readPage("docs/auditors.md");
  await using world = await startWorld();
  const commands = [...text.matchAll(/(?:^|`)zen-watcher ([^`\n]+)/gm)].map(([, line = ""]) => line);
  assert(commands.length >= 10, `${commands.length} commands`);
  for (const line of commands) {
    const { code, out, err } = await zen(line.split(" "), world);
    assertEquals(code, 0, `${line}: ${err}`);
    assert((out + err).length > 0, line);
  }
});
