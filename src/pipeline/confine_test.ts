import { assertEquals } from "@std/assert";
import { confine, isClusterScoped } from "./confine.ts";

const REPORT = { namespace: "shop", name: "report", confined: true };

Deno.test("a namespace's report claims no cluster-scoped resource, in whatever case its kind is", () => {
  const kinds = ["Node", "FlowSchema", "flowschema", "ServiceCIDR", "ResourceSlice", "VolumeAttributesClass"];
  for (const kind of [...kinds, "MutatingAdmissionPolicyBinding", "PriorityLevelConfiguration"]) {
    const resource = { kind, name: "x" };
    assertEquals(isClusterScoped(kind), true, kind);
    assertEquals(
      confine(resource, REPORT),
      { resource: { namespace: "shop" }, claimed: resource, namespace: "shop" },
      kind,
    );
  }
});

Deno.test("a namespace's report speaks of its own namespace, and of kinds that are in namespaces somewhere", () => {
  for (const resource of [{ kind: "Namespace", name: "shop" }, { kind: "IPAddress", name: "x" }]) {
    assertEquals(confine(resource, REPORT).resource, { ...resource, namespace: "shop" });
  }
  assertEquals(confine({ kind: "Namespace", name: "bank" }, REPORT).resource, { namespace: "shop" });
});
