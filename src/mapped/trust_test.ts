import { assertEquals } from "@std/assert";
import { settingsWith } from "../../tests/support/source_runtime.ts";
import {
  holdsCredentials,
  refuseConfigMaps,
  refuseNamespace,
  refusePath,
  refuseSource,
  refuseTarget,
  trustOf,
} from "./trust.ts";

const trust = {
  ownNamespace: "zen-system",
  trustedNamespaces: ["team"],
  configMapNamespaces: ["kube-bench"],
  reportEngines: ["tracee"],
};

Deno.test("configuration is used in the controller's namespace and in trusted ones", () => {
  assertEquals(refuseNamespace("zen-system", trust), undefined);
  assertEquals(refuseNamespace("team", trust), undefined);
  assertEquals(refuseNamespace("other", trust)?.reason, "NamespaceNotTrusted");
  assertEquals(refuseNamespace("", trust)?.reason, "NamespaceNotTrusted");
});

Deno.test("no mapping reads credentials, zen-watcher's own group or ConfigMaps of other namespaces", () => {
  const reason = (group: string, resource: string) =>
    refuseTarget({ group, resource }, [])?.reason ?? "allowed";
  for (
    const [group, resource] of [
      ["", "secrets"],
      ["", "Secrets"],
      ["example.com", "secrets"],
      ["oauth.openshift.io", "oauthaccesstokens"],
      ["management.cattle.io", "tokens"],
      ["authentication.k8s.io", "tokenreviews"],
      ["authentication.k8s.io", "*"],
      ["", "tokenreviews"],
      ["", "*"],
      ["", "configmaps"],
      ["zen.kube-zen.io", "observations"],
      ["zen.kube-zen.io", "*"],
    ] as const
  ) assertEquals(reason(group, resource), "ForbiddenTarget", `${group}/${resource}`);
  for (
    const [group, resource] of [
      ["", "events"],
      ["", "pods"],
      ["constraints.gatekeeper.sh", "*"],
      ["cert-manager.io", "certificates"],
      ["example.com", "configmaps"],
    ] as const
  ) assertEquals(reason(group, resource), "allowed", `${group}/${resource}`);
});

Deno.test("tokens are credentials in any spelling", () => {
  for (const word of ["secrets", "serviceaccounts/token", "UserOAuthAccessTokens", "tokenrequests"]) {
    assertEquals(holdsCredentials(word), true, word);
  }
  for (const word of ["pods", "tokenizers", "externalsecrets", "secretproviderclasses"]) {
    assertEquals(holdsCredentials(word), false, word);
  }
});

Deno.test("ConfigMaps are read in the Ingester's own namespace, and for the controller's in the settings' too", () => {
  const reason = (ingesterNamespace: string, namespace: string) =>
    refuseConfigMaps(namespace, { ingesterNamespace, trust })?.reason ?? "allowed";
  assertEquals(reason("zen-system", "zen-system"), "allowed");
  assertEquals(reason("zen-system", "kube-bench"), "allowed");
  assertEquals(reason("zen-system", "team"), "allowed");
  assertEquals(reason("zen-system", "kube-system"), "ForbiddenTarget");
  assertEquals(reason("team", "team"), "allowed");
  assertEquals(reason("team", "zen-system"), "ForbiddenTarget");
});

Deno.test("built-in sources, engines of policy reports and the program's own routes cannot be claimed", () => {
  const refused = (source: string) => refuseSource(source, { path: ["spec", "source"], trust });
  for (const source of ["falco", "audit", "kube-bench", "checkov", "trivy", "kyverno"]) {
    assertEquals(refused(source)?.reason, "ReservedSource", source);
  }
  assertEquals(
    refused("tracee")?.message,
    '"tracee" is an engine that policy reports name (REPORT_ENGINES): counts, filters and budget of the two would mix',
  );
  for (const source of ["gatekeeper", "kubearmor"]) assertEquals(refused(source), undefined);
  for (
    const path of ["/falco/webhook/x", "/audit", "/metrics", "/tools/x", "/admission/validate", "/readyz"]
  ) {
    assertEquals(refusePath(path)?.reason, "PathReserved", path);
  }
  assertEquals(refusePath("/ingest/falco"), undefined);
});

Deno.test("trustOf() lists the engines of REPORT_ENGINES by the names under which their findings are stored", () => {
  const { reportEngines } = trustOf(settingsWith({ REPORT_ENGINES: "My Scanner,kubearmor" }));
  assertEquals(reportEngines, ["my-scanner", "kubearmor", "policy-report"]);
});
