import { assertEquals } from "@std/assert";
import { apiVersionOf, kindInAnyCase, resourceOf } from "./kinds.ts";

Deno.test("IPAddress has no apiVersion of ours: Kubernetes and Cluster API have a kind of that name", () => {
  assertEquals(apiVersionOf("IPAddress"), "");
  assertEquals(kindInAnyCase("ipaddress"), { kind: "IPAddress", apiVersion: "" });
  const named = { plural: "ipaddresses", name: "x", namespace: "capi" };
  assertEquals(resourceOf(named), { kind: "IPAddress", name: "x", namespace: "capi" });
  const apiVersion = "ipam.cluster.x-k8s.io/v1beta1";
  assertEquals(resourceOf({ ...named, apiVersion }), {
    kind: "IPAddress",
    name: "x",
    namespace: "capi",
    apiVersion,
  });
});
