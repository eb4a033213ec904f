import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { startDevCluster } from "./mod.ts";

const hasKubectl = await new Deno.Command("kubectl", {
  args: ["version", "--client"],
  stdout: "null",
  stderr: "null",
})
  .output().then(({ success }) => success, () => false);

const DEFINITION = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: lamps.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: lamps, singular: lamp, kind: Lamp, shortNames: [lp], categories: [lights]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    selectableFields: [{jsonPath: .spec.color}]
    additionalPrinterColumns:
    - {name: Color, type: string, jsonPath: .spec.color}
    - {name: Watts, type: integer, jsonPath: .spec.watts, priority: 1}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [color]
            properties:
              color: {type: string, enum: [red, green], description: What it shines in.}
              watts: {type: integer, default: 5}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
`;

Deno.test({
  name: "kubectl gets, watches, describes, creates, applies, labels, explains and deletes",
  ignore: !hasKubectl,
  fn: async () => {
    await using cluster = startDevCluster();
    const folder = await Deno.makeTempDir();
    try {
      const kubeconfig = `${folder}/kubeconfig`;
      await Deno.writeTextFile(kubeconfig, cluster.kubeconfig());
      const kubectl = (line: string, input = "") => run(line, { kubeconfig, folder, input });
      await workWith(kubectl, () => watchLamps(kubeconfig, folder));
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

type Kubectl = (line: string, input?: string) => Promise<string>;

async function workWith(
  kubectl: Kubectl,
  watch: () => AsyncDisposable & { first(text: string): Promise<void> },
): Promise<void> {
  assertStringIncludes(await kubectl("apply -f -", DEFINITION), "lamps.example.com created");
  assertStringIncludes(
    await kubectl("wait --for=condition=Established crd/lamps.example.com --timeout=10s"),
    "condition met",
  );
  const resources = await kubectl("api-resources --no-headers");
  assertMatch(resources, /^lamps +lp +example.com\/v1 +true +Lamp$/m);
  assertMatch(resources, /^configmaps +cm +v1 +true +ConfigMap$/m);

  const lamp = (color: string) =>
    JSON.stringify({ apiVersion: "example.com/v1", kind: "Lamp", metadata: { name: "a" }, spec: { color } });
  await using watching = watch();
  assertStringIncludes(await kubectl("apply -f -", lamp("red")), "lamp.example.com/a created");
  await watching.first("red");
  assertStringIncludes(await kubectl("apply -f -", lamp("red")), "lamp.example.com/a unchanged");
  assertStringIncludes(await kubectl("apply -f -", lamp("green")), "lamp.example.com/a configured");
  await watching.first("green");
  const refused = await kubectl("apply -f -", lamp("blue"));
  assertStringIncludes(refused, 'Unsupported value: "blue": supported values: "red", "green"');

  assertMatch(await kubectl("get lamps"), /^NAME +COLOR +AGE\na +green +\d+s\n$/);
  assertMatch(await kubectl("get lp -o wide"), /^NAME +COLOR +WATTS +AGE\na +green +5 +\d+s\n$/);
  assertMatch(await kubectl("get lights -A"), /^NAMESPACE +NAME +COLOR +AGE\ndefault +a +green/);
  assertStringIncludes(
    await kubectl("get lamps --field-selector spec.color=green -o name"),
    "lamp.example.com/a",
  );
  assertStringIncludes(await kubectl("get lamps --field-selector spec.color=red"), "No resources found");
  assertStringIncludes(await kubectl("label lamp a room=kitchen"), "labeled");
  assertMatch(await kubectl("get lamps -l room=kitchen --show-labels"), /room=kitchen/);
  assertMatch(
    await kubectl("describe lamp a"),
    /Name: +a\n[^]*Labels: +room=kitchen\n[^]*Color: +green\n[^]*Events: +<none>/,
  );
  assertStringIncludes(await kubectl("explain lamp.spec.color"), "What it shines in.");
  assertStringIncludes(
    await kubectl('patch lamp a --subresource=status --type=merge -p {"status":{"on":true}}'),
    "patched",
  );
  assertEquals(await kubectl("get lamp a -o jsonpath={.status.on}"), "true");
  assertStringIncludes(await kubectl("delete lamp a"), "deleted");

  const map = JSON.stringify({
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: "m" },
    data: { k: "v" },
  });
  assertStringIncludes(await kubectl("create -f -", map), "configmap/m created");
  assertStringIncludes(await kubectl("create -f -", map), "AlreadyExists");
  assertMatch(await kubectl("describe cm m"), /Data\n====\nk:\n----\nv\n/);
  assertStringIncludes(await kubectl("annotate cm m note=yes"), "annotated");
  // These send protobuf.
  assertEquals(await kubectl("auth can-i list lamps"), "yes\n");
  assertStringIncludes(await kubectl("create namespace made"), "namespace/made created");
  assertStringIncludes(
    await kubectl("create configmap -n made cm --from-literal=k=v --from-literal=l=é"),
    "created",
  );
  assertEquals(await kubectl("get cm -n made cm -o jsonpath={.data}"), '{"k":"v","l":"é"}');
  assertStringIncludes(
    await kubectl("create secret generic -n made s --from-literal=k=v"),
    "secret/s created",
  );
  assertEquals(await kubectl("get secret -n made s -o jsonpath={.type}:{.data.k}"), "Opaque:dg==");
  assertStringIncludes(await kubectl("delete namespace made"), "deleted");
  assertStringIncludes(await kubectl("delete crd lamps.example.com"), "deleted");
  assertStringIncludes(await kubectl("get lamps"), "could not find the requested resource");
}

async function run(
  line: string,
  { kubeconfig, folder, input }: { kubeconfig: string; folder: string; input: string },
): Promise<string> {
  const args = [...line.split(" "), `--kubeconfig=${kubeconfig}`, `--cache-dir=${folder}/cache`];
  const child = new Deno.Command("kubectl", { args, stdin: "piped", stdout: "piped", stderr: "piped" })
    .spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  const { stdout, stderr } = await child.output();
  return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
}

function watchLamps(kubeconfig: string, folder: string) {
  const args = ["get", "lamps", "-w", `--kubeconfig=${kubeconfig}`, `--cache-dir=${folder}/cache`];
  const child = new Deno.Command("kubectl", { args, stdout: "piped", stderr: "null" }).spawn();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let seen = "";
  return {
    async first(text: string): Promise<void> {
      while (!seen.includes(text)) {
        const { value, done } = await reader.read();
        assert(!done, `kubectl get -w ended without "${text}": ${seen}`);
        seen += value;
      }
    },
    async [Symbol.asyncDispose](): Promise<void> {
      // It has ended by itself where the definition is gone.
      try {
        child.kill();
      } catch (error) {
        assert(error instanceof TypeError);
      }
      await reader.cancel();
      await child.status;
    },
  };
}
