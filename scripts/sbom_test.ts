import { assert, assertEquals, assertMatch } from "@std/assert";
import { isObject, type JsonObject } from "../src/model/json.ts";
import config from "../deno.json" with { type: "json" };
import { billOfMaterials } from "./sbom.ts";

/** Of tests, of the development cluster, which the program never reaches, and types. */
const NOT_SHIPPED = [
  "@types/d3-array",
  "@types/d3-shape",
  "ajv",
  "ajv-draft-04",
  "ajv-formats",
  "axe-core",
  "fast-check",
  "fast-json-patch",
  "playwright-core",
  "protobufjs",
];

Deno.test("billOfMaterials() lists what the program is made of, by name, version and hash, and nothing of the tests", async () => {
  const { components, dependencies } = await billOfMaterials();
  assert(Array.isArray(components) && Array.isArray(dependencies));
  const listed = components.filter(isObject);
  const fullName = ({ group, name }: JsonObject) => group === undefined ? String(name) : `${group}/${name}`;
  const names = new Set(listed.map(fullName));
  for (const [name, specifier] of Object.entries(config.imports)) {
    if (!specifier.startsWith("npm:") || name.endsWith("/")) continue;
    assertEquals(names.has(name), !NOT_SHIPPED.includes(name), name);
    const component = listed.find((each) => fullName(each) === name);
    if (component) assert(specifier.endsWith(`@${component.version}`), specifier);
  }
  for (const component of listed) {
    if (component.type !== "library") continue;
    assertMatch(JSON.stringify(component.hashes), /^\[{"alg":"SHA-512","content":"[0-9a-f]{128}"}\]$/);
  }
  const refs = new Set(listed.map((component) => component["bom-ref"]));
  for (const dependency of dependencies.filter(isObject)) {
    for (const ref of Array.isArray(dependency.dependsOn) ? dependency.dependsOn : []) {
      assert(refs.has(ref), `${ref}`);
    }
  }
});
