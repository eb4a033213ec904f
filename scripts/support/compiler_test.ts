import { assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { compileWith, withoutProgram } from "./compiler.ts";
import { platformOf } from "./platform.ts";

Deno.test("withoutProgram() ends an ELF file with its section headers", () => {
  const file = new Uint8Array(500);
  const header = new DataView(file.buffer);
  header.setBigUint64(0x28, 200n, true);
  header.setUint16(0x3a, 64, true);
  header.setUint16(0x3c, 3, true);
  assertEquals(withoutProgram(file).length, 200 + 3 * 64);
});

Deno.test("compileWith() keeps no program that does not start, and names DENO_COMPILER", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const compiler = join(folder, "deno");
    const output = join(folder, "program");
    const writes =
      `printf '#!/bin/sh\\necho "no such section" >&2\\nexit 1\\n' >${output}; chmod +x ${output}`;
    await Deno.writeTextFile(compiler, `#!/bin/sh\n[ "$1" != compile ] || { ${writes}; }\n`, { mode: 0o755 });
    const options = { entry: "main.js", folder, output, platform: platformOf(), flags: [] };
    await assertRejects(
      () => compileWith({ compiler, denort: "/opt/denort" }, options),
      Error,
      `with the runtime "/opt/denort": no such section\nName a compiler of the runtime's version with DENO_COMPILER`,
    );
    await assertRejects(() => Deno.stat(output), Deno.errors.NotFound);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
