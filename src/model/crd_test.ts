import { assertEquals, assertObjectMatch, assertThrows } from "@std/assert";
import * as z from "zod";
import { crdFor, structuralSchema } from "./crd.ts";

Deno.test("structuralSchema() keeps rules, opens what is open and drops what only zod needs", () => {
  const schema = z.strictObject({
    name: z.string().min(1).max(9).describe("A name"),
    kind: z.enum(["a", "b"]).default("a"),
    exact: z.literal("x"),
    count: z.int().optional(),
    labels: z.record(z.string(), z.string()).optional(),
    any: z.record(z.string(), z.unknown()).optional(),
    list: z.array(z.strictObject({ on: z.boolean() })).max(3).optional(),
    mixed: z.union([z.string(), z.number()]).meta({ "x-kubernetes-preserve-unknown-fields": true })
      .optional(),
    maybe: z.string().nullable().optional(),
  });
  assertEquals(structuralSchema(schema, "spec"), {
    type: "object",
    properties: {
      name: { type: "string", minLength: 1, maxLength: 9, description: "A name" },
      kind: { type: "string", enum: ["a", "b"], default: "a" },
      exact: { type: "string", enum: ["x"] },
      count: { type: "integer" },
      labels: { type: "object", additionalProperties: { type: "string" } },
      any: { type: "object", "x-kubernetes-preserve-unknown-fields": true },
      list: {
        type: "array",
        maxItems: 3,
        items: { type: "object", properties: { on: { type: "boolean" } }, required: ["on"] },
      },
      mixed: { "x-kubernetes-preserve-unknown-fields": true },
      maybe: { type: "string", nullable: true },
    },
    required: ["name", "exact"],
  });
});

Deno.test("structuralSchema() names the field that has no structural form", () => {
  const schema = z.object({ outer: z.object({ either: z.union([z.string(), z.object({})]) }) });
  assertThrows(
    () => structuralSchema(schema, "spec"),
    Error,
    'Cannot make a structural schema of "spec.outer.either"',
  );
});

Deno.test("crdFor() makes a namespaced CRD with a status subresource and no more than was asked for", () => {
  const crd = crdFor({
    kind: "Thing",
    plural: "things",
    version: "v1alpha1",
    description: "A thing",
    schema: { spec: z.object({ a: z.string(), b: z.string().optional() }), status: z.object({}) },
    columns: [{ name: "Age", path: ".metadata.creationTimestamp", type: "date" }],
    immutable: ["a", "b"],
  });
  assertObjectMatch(crd, {
    metadata: { name: "things.zen.kube-zen.io" },
    spec: {
      scope: "Namespaced",
      names: { kind: "Thing", listKind: "ThingList", singular: "thing", categories: ["zen"] },
      versions: {
        0: {
          name: "v1alpha1",
          subresources: { status: {} },
          schema: {
            openAPIV3Schema: {
              required: ["spec"],
              properties: {
                spec: {
                  "x-kubernetes-validations": {
                    0: { rule: "self.a == oldSelf.a" },
                    1: { rule: "has(self.b) == has(oldSelf.b) && (!has(self.b) || self.b == oldSelf.b)" },
                  },
                },
              },
            },
          },
        },
      },
    },
  });
  assertEquals(JSON.stringify(crd).includes("selectableFields"), false);
  assertEquals(JSON.stringify(crd).includes('"default"'), false);
});
