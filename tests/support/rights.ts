/** The rights a test gives the program on a real API server: those generated for its settings, and no others. */
import type { JsonObject } from "../../src/model/json.ts";
import { readSettings } from "../../src/settings.ts";
import { configMapNamespaces } from "../../src/sources/registry.ts";
import type { Access } from "../../src/kube/access.ts";
import { accessesOf, rbacRules } from "../../src/sources/rbac.ts";
import { valueIn } from "./chart.ts";
import type { Credentials, RealCluster } from "./cluster.ts";
import { eventually } from "./eventually.ts";
import { ensureNamespaces } from "./objects.ts";

const RBAC = "/apis/rbac.authorization.k8s.io/v1";
const REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
const APPLY = "application/apply-patch+yaml";

/** Settings as a program is given them. */
type Env = Readonly<Record<string, string>>;

/**
 * A token of the ServiceAccount `zen-watcher` in the program's own namespace, which is made where it is missing and given
 * what a program of these settings needs.
 */
export async function ownAccount(cluster: RealCluster, env: Env = {}): Promise<{ readonly token: string }> {
  const { podNamespace } = readSettings((name) => env[name]);
  await ensureNamespaces(cluster, [podNamespace]);
  const name = "zen-watcher";
  await cluster.expect(
    "PATCH",
    `/api/v1/namespaces/${podNamespace}/serviceaccounts/${name}?fieldManager=test`,
    { body: { apiVersion: "v1", kind: "ServiceAccount", metadata: { name } }, contentType: APPLY },
  );
  await giveOwnRules(cluster, [`system:serviceaccount:${podNamespace}:${name}`], env);
  return { token: await cluster.serviceAccountToken(podNamespace, name) };
}

/**
 * Gives users the rights that a program with these settings needs, and waits until they are effective. Skips watched
 * namespaces that do not exist, since no role can be in them.
 */
export async function giveOwnRules(
  cluster: RealCluster,
  users: readonly string[],
  env: Env = {},
): Promise<void> {
  const settings = readSettings((name) => env[name]);
  await ensureNamespaces(cluster, configMapNamespaces(settings));
  for (const one of rbacRules(settings)) {
    const { namespace } = one;
    if (
      namespace !== "" && (await cluster.settled("GET", `/api/v1/namespaces/${namespace}`)).status !== 200
    ) {
      continue;
    }
    const rules = one.rules.map(({ by: _, ...rule }): JsonObject => JSON.parse(JSON.stringify(rule)));
    const [access] = accessesOf([one]);
    for (const user of users) {
      await grant(cluster, user, { rules, ...(namespace !== "" && { namespace }) });
      if (!access) continue;
      const { by: _, ...act } = access;
      await eventually(`${user} to have its rights in "${namespace}"`, () => isAllowed(cluster, user, act));
    }
  }
}

/** Whether a user may do an act, as the API server answers; the question is one more request in the audit log, of `as`. */
export async function isAllowed(
  cluster: RealCluster,
  user: string,
  { as, ...resourceAttributes }: Access & { readonly as?: Credentials },
): Promise<boolean> {
  const { body } = await cluster.expect("POST", REVIEWS, {
    ...(as && { as }),
    body: { spec: { user, resourceAttributes: { ...resourceAttributes } } },
  });
  return valueIn(body, "status", "allowed") === true;
}

export interface GrantedRight {
  readonly rules: JsonObject[];
  /** Everywhere, if absent. */
  readonly namespace?: string;
  /** Of the role; default: the user's. */
  readonly name?: string;
}

/** Gives a user these rights, in place of what a role of that name gave. */
export async function grant(
  cluster: RealCluster,
  user: string,
  { rules, namespace, name = user }: GrantedRight,
): Promise<void> {
  const [kind, path] = namespace === undefined
    ? ["ClusterRole", RBAC]
    : ["Role", `${RBAC}/namespaces/${namespace}`];
  const apply = async (kind: string, rest: JsonObject) => {
    const one = `${path}/${kind.toLowerCase()}s/${encodeURIComponent(name)}?fieldManager=test&force=true`;
    const body = { apiVersion: "rbac.authorization.k8s.io/v1", kind, metadata: { name }, ...rest };
    await cluster.expect("PATCH", one, { body, contentType: APPLY });
  };
  await apply(kind, { rules });
  await apply(`${kind}Binding`, {
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind, name },
    subjects: [{ apiGroup: "rbac.authorization.k8s.io", kind: "User", name: user }],
  });
}
