import { assertEquals } from "@std/assert";
import { apiVersionOf, kindInAnyCase, resourceOf } from "./resources.ts";

Deno.test("IPAddress gets no apiVersion: Kubernetes and Cluster API both have a kind of that name", () => {
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
