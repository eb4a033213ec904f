import { assert, assertEquals, assertNotEquals, assertStringIncludes } from "@std/assert";
import type { Drawn, DrawnEvent } from "../../model/event.ts";
import type { Json, JsonObject } from "../../model/json.ts";
import { drawnFrom, runtimeFor } from "../../../tests/support/source_runtime.ts";
import { falco } from "./mod.ts";

function drawn(body: Json): Drawn[] {
  const payload = { body, origin: { confined: false }, receivedAt: 0 };
  return drawnFrom(falco, payload);
}

function event(body: Json): DrawnEvent {
  const [first] = drawn(body);
  if (first === undefined || !("event" in first)) throw new Error(`no event: ${JSON.stringify(first)}`);
  return first.event;
}

function alert(fields: JsonObject, rest: JsonObject = {}): JsonObject {
  return {
    rule: "R",
    priority: "Warning",
    source: "syscall",
    hostname: "node-1",
    output_fields: fields,
    ...rest,
  };
}

const idOf = (body: Json) => JSON.stringify(event(body).identity);

Deno.test("falco takes a rule spelled `Rule`, and names the Pod", () => {
  const test = event({
    output: "Test",
    priority: "Critical",
    Rule: "Test Terminate",
    output_fields: { "k8s.pod.name": "test", "k8s.ns.name": "default" },
  });
  assertEquals(test.rules, ["Test Terminate"]);
  assertEquals(test.resource, { apiVersion: "v1", kind: "Pod", name: "test", namespace: "default" });
  assertEquals(test.message, "Test");
});

Deno.test("falco reads a nested path where the dotted key is not there, and the literal key first", () => {
  const nested = event(alert({ k8s: { pod: { name: "a" }, ns: { name: "n" } } }));
  assertEquals(nested.resource, { apiVersion: "v1", kind: "Pod", name: "a", namespace: "n" });
  const both = event(alert({ k8s: { pod: { name: "a" }, ns: { name: "n" } }, "k8s.pod.name": "b" }));
  assertEquals(both.resource?.name, "b");
});

Deno.test("falco names the Node if a system call has no Pod, and no resource for other sources", () => {
  const node = { apiVersion: "v1", kind: "Node", name: "node-1" };
  assertEquals(event(alert({ "container.id": "host", "k8s.pod.name": null })).resource, node);
  assertEquals(event(alert({ "k8s.pod.name": "<NA>" })).resource, node);
  assertEquals(event(alert({}, { source: "gcp_auditlog" })).resource, undefined);
  assertEquals(event(alert({}, { source: "internal" })).resource, undefined);
});

const SHOP = { apiVersion: "v1", kind: "Namespace", name: "shop", namespace: "shop" };

Deno.test("falco names the Namespace if the Pod is unknown, and never a Node for a container", () => {
  const of = (fields: JsonObject, rest: JsonObject = {}) => event(alert(fields, rest)).resource;
  assertEquals(of({ "container.id": "abc", "k8s.ns.name": "shop", "k8s.pod.name": null }), SHOP);
  assertEquals(of({ "k8s.ns.name": "shop", "k8s.pod.name": "<NA>" }), SHOP);
  assertEquals(of({ "k8smeta.ns.name": "shop" }), SHOP);
  assertEquals(of({ k8s: { ns: { name: "shop" } } }), SHOP);
  assertEquals(of({ "container.id": "abc", "k8s.ns.name": null }), undefined);
  assertEquals(of({ "container.name": "web" }), undefined);
  assertEquals(of({ "container.name": "host" })?.kind, "Node");
});

Deno.test("falco names the Pod of an audit event by ka.resp.name, with and without source and kind", () => {
  const pod = { apiVersion: "v1", kind: "Pod", name: "web-1", namespace: "shop" };
  const fields = { "ka.resp.name": "web-1", "ka.target.namespace": "shop" };
  const images = { "ka.req.pod.containers.image": "nginx" };
  for (const source of ["k8s_audit", ""]) {
    const of = (more: JsonObject) => event(alert({ ...fields, ...more }, { source })).resource;
    assertEquals(of({ "ka.target.resource": "pods" }), pod);
    assertEquals(of(images), pod);
    assertEquals(of({ ...images, "ka.resp.name": "<NA>" }), SHOP);
    assertEquals(of({ "ka.target.resource": "pods", "ka.resp.name": null }), SHOP);
    assertEquals(of({ "ka.target.resource": "pods", "ka.target.name": "web-2" })?.name, "web-2");
    assertEquals(of({ "ka.target.resource": "secrets", "ka.resp.name": null }), {
      apiVersion: "v1",
      kind: "Secret",
      namespace: "shop",
    });
  }
});

Deno.test("falco names the Namespace of an audit event about one by its own name, with and without ka.target.namespace", () => {
  for (const source of ["k8s_audit", ""]) {
    for (const namespace of [undefined, null, "<NA>", "shop"]) {
      const fields = {
        "ka.target.resource": "namespaces",
        "ka.target.name": "shop",
        ...(namespace !== undefined && { "ka.target.namespace": namespace }),
      };
      assertEquals(event(alert(fields, { source })).resource, SHOP);
    }
  }
});

Deno.test("falco names the known parts of an audit event's target whose kind its rule lacks", () => {
  const target = (fields: JsonObject) => event(alert(fields, { source: "k8s_audit" })).resource;
  assertEquals(target({ "ka.target.name": "web", "ka.target.namespace": "shop" }), {
    name: "web",
    namespace: "shop",
  });
  assertEquals(target({ "ka.target.namespace": "shop", "ka.target.name": null }), SHOP);
  assertEquals(target({ "ka.user.name": "me", "ka.target.name": "<NA>" }), undefined);
});

Deno.test("falco's identity has no number of a thread, a descriptor or a client's port", () => {
  const repeat = (n: number) =>
    idOf(alert({
      "proc.loginshellid": n,
      "thread.nametid": `sh:${n}`,
      "fd.uid": `${n}3`,
      "fd.cproto": `${40_000 + n}`,
      "evt.arg.tuple": `10.0.0.1:${40_000 + n}->1.2.3.4:80`,
      evt: { time: n, num: n, type: "connect" },
      proc: { pid: n, name: "sh" },
    }));
  assertEquals(repeat(1), repeat(2));
  const other = (fields: JsonObject) => idOf(alert(fields));
  const polluted = JSON.parse(
    '{"__proto__": {"x": 1}, "proc": {"__proto__": 1, "name": "sh"}}',
  ) as JsonObject;
  assertEquals(other(polluted), other({ "proc.name": "sh" }));
  assertNotEquals(other({ proc: { name: "sh" } }), other({ proc: { name: "cat" } }));
  assertNotEquals(
    other({ "evt.arg.tuple": "10.0.0.1:40000->1.2.3.4:80" }),
    other({ "evt.arg.tuple": "10.0.0.1:40000->1.2.3.5:80" }),
  );
});

Deno.test("falco turns the plural of an audit event's target into its kind", () => {
  const target = (resource: string) =>
    event(alert({
      "ka.target.resource": resource,
      "ka.target.name": "x",
      "ka.target.namespace": "ns",
    }, { source: "k8s_audit" })).resource;
  assertEquals(target("pods"), { apiVersion: "v1", kind: "Pod", name: "x", namespace: "ns" });
  assertEquals(target("volumeattachments")?.kind, "VolumeAttachment");
  assertEquals(target("ingresses")?.kind, "Ingress");
  assertEquals(target("nodepools"), { kind: "Nodepool", name: "x", namespace: "ns" });
  assertEquals(target("proxies")?.kind, "Proxy");
  assertEquals(target("ipaddresses")?.kind, "IPAddress");
  assertEquals(target("mutatingadmissionpolicies")?.kind, "MutatingAdmissionPolicy");
});

Deno.test("falco's internal events have the category operations", () => {
  for (
    const body of [
      { rule: "Falco internal: syscall event drop", priority: "Debug", output_fields: { n_drops: 3 } },
      { rule: "any", priority: "Debug", source: "internal" },
    ]
  ) {
    const { eventType, category, resource } = event(body);
    assertEquals([eventType, category, resource], ["falco-internal", "operations", undefined]);
  }
});

Deno.test("falco's identity has no fields that vary between repeats", () => {
  const first = alert({
    "evt.time": 1,
    "evt.num": 1,
    "evt.time.iso8601": 1,
    "proc.pid": 7,
    "proc.ppid": 6,
    "proc.apid[2]": 5,
    "proc.vpid": 4,
    "thread.tid": 3,
    "container.start_ts": 2,
    "proc.name": "nc",
    "proc.pid.ts": 9,
    "fd.name": "10.0.0.1:39248->10.0.0.2:443",
    "fd.cport": 39248,
    "fd.lport": 39248,
    "fd.rport": 443,
  });
  const second = alert({
    "evt.time": 2,
    "evt.num": 2,
    "evt.time.iso8601": 2,
    "proc.pid": 8,
    "proc.ppid": 7,
    "proc.apid[2]": 6,
    "proc.vpid": 5,
    "thread.tid": 4,
    "container.start_ts": 3,
    "proc.name": "nc",
    "proc.pid.ts": 8,
    "fd.name": "10.0.0.1:50001->10.0.0.2:443",
    "fd.cport": 50001,
    "fd.lport": 50001,
    "fd.rport": 443,
  });
  assertEquals(idOf(first), idOf({ ...second, output: "another time", time: "2026-11-01T00:00:01Z" }));
  assertEquals(event(first).identity.fields, {
    "proc.name": "nc",
    "fd.name": "10.0.0.1->10.0.0.2:443",
    "fd.rport": 443,
  });
});

Deno.test("falco distinguishes alerts by rule, priority, process, server port and node", () => {
  const base = alert({ "proc.cmdline": "cat /etc/shadow", "fd.name": "::1:5->::2:443" });
  const others = [
    { ...base, rule: "S" },
    { ...base, priority: "Error" },
    { ...base, hostname: "node-2" },
    alert({ "proc.cmdline": "cat /etc/passwd", "fd.name": "::1:5->::2:443" }),
    alert({ "proc.cmdline": "cat /etc/shadow", "fd.name": "::1:5->::2:444" }),
  ];
  assertEquals(new Set([base, ...others].map(idOf)).size, 6);
  assertEquals(idOf({ ...base, priority: "INFO" }), idOf({ ...base, priority: "Informational" }));
  assertEquals(idOf(alert({ "proc.cmdline": "cat /etc/shadow", "fd.name": "::1:9->::2:443" })), idOf(base));
});

Deno.test("falco finds the client's port by the direction of the call, then by its range", () => {
  const fields = (given: JsonObject) => event(alert(given)).identity.fields;
  assertEquals(fields({ "evt.type": "connect", "fd.lport": 1, "fd.rport": 2 }), {
    "evt.type": "connect",
    "fd.rport": 2,
  });
  assertEquals(fields({ "evt.type": "accept4", "fd.lport": 1, "fd.rport": 2 }), {
    "evt.type": "accept4",
    "fd.lport": 1,
  });
  assertEquals(fields({ "fd.lport": 22, "fd.rport": 40001 }), { "fd.lport": 22 });
  assertEquals(fields({ "fd.sport": "22", "fd.lport": "22", "fd.rport": "80" }), {
    "fd.sport": "22",
    "fd.lport": "22",
  });
});

Deno.test("falco's Observation about a Secret shows the Secret's name", () => {
  const name = "sh.helm.release.v1.web.v123";
  const fields = { "ka.target.name": name, "ka.target.namespace": "shop", "ka.target.resource": "secrets" };
  const output = `K8s Secret Deleted (token=a1b2c3d4 user=bob secret=${name})`;
  const payload = {
    body: alert(fields, { source: "k8s_audit", output }),
    origin: { confined: false },
    receivedAt: 0,
  };
  const { message } = runtimeFor(falco).normalize(event(payload.body), payload);
  assertEquals(message, `K8s Secret Deleted (token=*** user=bob secret=${name})`);
});

Deno.test("falco's message is the sentence in message if there is no output", () => {
  assertEquals(event(alert({}, { message: "A shell | user=root" })).message, "A shell | user=root");
  assertEquals(
    event(alert({}, { message: "A shell", output: "06:00:00.1: Warning A file" })).message,
    "A file",
  );
});

Deno.test("falco's message is the whole output without its time and priority, else the rule", () => {
  const output = (words: string) => event(alert({ "user.name": "root" }, { output: words })).message;
  assertEquals(output("09:15:40.698757000: Warning K8s operation (x: y)"), "K8s operation (x: y)");
  assertEquals(output("2026-11-01T00:00:01.686701548+0000: Warning seen"), "seen");
  assertEquals(output("file: Warning"), "file: Warning");
  assertEquals(output(""), "R");
  assertEquals(output("12:00:00.0: Warning Symlink | target=/etc/shadow"), "Symlink | target=/etc/shadow");
});

Deno.test("falco shows tags, MITRE ids and every output field, whether its name is known or not", () => {
  const tags = [
    "T1548.001",
    "mitre_privilege_escalation",
    "T1562-impair-defenses",
    "TA0005-defense-evasion",
    "Test",
  ];
  const fields = {
    "evt.args": "name=/usr/bin/ls",
    "evt.time": 7,
    "okta.app": "payroll",
    "user.uid": 0,
    proc: { pid: 3 },
    source: "syscall",
    rule: "not the rule",
  };
  const { details } = event(alert({ ...fields, "fd.name": null, "fd.l4proto": "<NA>" }, { tags }));
  assertEquals(details, {
    rule: "R",
    priority: "Warning",
    source: "syscall",
    hostname: "node-1",
    tags,
    mitreTactics: ["privilege_escalation", "TA0005"],
    mitreTechniques: ["T1548.001", "T1562"],
    "evt.args": "name=/usr/bin/ls",
    "evt.time": 7,
    "okta.app": "payroll",
    "user.uid": 0,
    "proc.pid": 3,
    "output_fields.rule": "not the rule",
  });
});

Deno.test("falco's Observation shows text that looks like a URL, and a path under the name of a link", () => {
  const fields = {
    "proc.cmdline": "data:, /etc/shadow",
    "evt.arg.path": "javascript:alert(1)",
    "evt.arg.link": "target/file",
    "evt.arg.url": "javascript:alert(2)",
    evt: { arg: { href: "/etc/passwd" } },
  };
  const payload = { body: alert(fields), origin: { confined: false }, receivedAt: 0 };
  const { details } = runtimeFor(falco).normalize(event(payload.body), payload);
  const { evt, ...flat } = fields;
  for (const [key, text] of Object.entries({ ...flat, "evt.arg.href": evt.arg.href })) {
    assertEquals([key, details[key]], [key, text]);
  }
  assertEquals(details.truncated, undefined);
});

Deno.test("falco keeps fields with paths and objects first if not all fields fit", () => {
  const many = Object.fromEntries(
    Array.from({ length: 400 }, (_, index) => [`custom.${index}`, "v".repeat(40)]),
  );
  const { details } = event(alert({
    ...many,
    "proc.env": "e".repeat(9_000),
    "fd.name": "/etc/shadow",
    "evt.arg.target": `/var/${"d".repeat(5_000)}`,
    "ka.resp.name": "web-1",
  }));
  assertEquals([details["fd.name"], details["ka.resp.name"], details.truncated], [
    "/etc/shadow",
    "web-1",
    true,
  ]);
  assertEquals(String(details["evt.arg.target"]).length, 1_024);
  assert(JSON.stringify(details).length < 7_168);
});

Deno.test("falco cleans few of many long values, and each short one, if not all fields fit", () => {
  const invisible = `${"\u200b".repeat(1_100)}a`;
  const long = Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`custom.${index}`, invisible]));
  const { details } = event(alert({ ...long, "proc.name": "cat" }));
  const shown = Object.keys(details).filter((key) => key.startsWith("custom."));
  assertEquals(shown.map((key) => details[key]), Array(64).fill("a…"));
  assertEquals([details["proc.name"], details.truncated], ["cat", true]);
});

Deno.test("falco's identity of long arguments begins as that of the whole text without its numbers", () => {
  const hashed = 65_536;
  const units: readonly (readonly [string, string])[] = [
    ["fd=12345678 ", "fd= "],
    ["10.0.0.1:34567->10.0.0.2:80 ", "10.0.0.1->10.0.0.2:80 "],
    [":12345->", "->"],
    ["tid=1,x:123 ", "tid=,x:123 "],
  ];
  for (const [unit, lasting] of units) {
    const whole = lasting.repeat(200_000);
    for (let before = 0; before < unit.length; before++) {
      const args = "-".repeat(before) + unit.repeat(200_000);
      const { fields = {} } = event(alert({ "evt.args": args })).identity;
      const kept = String((fields as JsonObject)["evt.args"]);
      assert(kept.length >= hashed, `${kept.length} of ${unit}`);
      assert(`${"-".repeat(before)}${whole}`.startsWith(kept.slice(0, hashed)), `${before} before ${unit}`);
    }
  }
});

Deno.test("falco reads tags and names of fields with more dots than they have parts", () => {
  const dots = ".".repeat(5_000_000);
  const { details, identity } = event(alert({ [`proc.${dots}`]: 1, "proc.pid.x": 1 }, {
    tags: [`T1548${dots}`, "T1548.001", "T1562-impair", "T1548.001.2"],
  }));
  assertEquals(details.mitreTechniques, ["T1548.001", "T1562"]);
  assertEquals(Object.keys(identity.fields as JsonObject).length, 2);
});

Deno.test("falco's identity has no number that the kernel or a plugin assigns each time", () => {
  const repeat = (n: number, rest: JsonObject = {}) =>
    idOf(alert({
      "evt.num": n,
      "evt.rawtime.ns": n,
      "evt.args": `res=${n} fd=${n}(<4t>10.0.0.1:${
        40_000 + n
      }->10.0.0.2:443) dirfd=${n}(<d>/tmp) tid=${n}(sh) name=/usr/bin/ls`,
      "evt.arg.fd": `${n}<f>/etc/shadow`,
      "evt.arg[0]": `10.0.0.1:${40_000 + n}->10.0.0.2:443`,
      "fd.nameraw": `10.0.0.1:${40_000 + n}->10.0.0.2:443`,
      "thread.exectime": n,
      "proc.fdopencount": n,
      "okta.uuid": `id-${n}`,
      "jevt.value[/requestID]": `id-${n}`,
      ...rest,
    }));
  assertEquals(repeat(1), repeat(22));
  for (
    const other of [
      { "evt.args": "res=-13(EACCES) name=/usr/bin/ls" },
      { "evt.args": "res=1 name=/usr/bin/cat" },
      { "evt.arg.fd": "1<f>/etc/passwd" },
      { "evt.arg.uid": 7 },
      { "okta.app": "payroll" },
    ]
  ) assertNotEquals(repeat(1), repeat(1, other), JSON.stringify(other));
});

Deno.test("falco's identity has no time of a record, no latency and no kernel address of a socket", () => {
  const same: [string, Json, Json][] = [
    ["jevt.value[/stageTimestamp]", "2026-11-30T06:00:00.1Z", "2026-11-30T06:00:01.1Z"],
    ["jevt.value[/requestReceivedTimestamp]", "2026-11-30T06:00:00.1Z", "2026-11-30T06:00:01.1Z"],
    ["jevt.value[/eventTime]", "a", "b"],
    ["okta.published", "a", "b"],
    ["evt.latency.ns", 1, 2],
    ["evt.latency.human", "1ns", "2ns"],
    ["evt.wait_latency", 1, 2],
    ["evt.time.iso8601", 1, 2],
    ...["evt.args", "fd.name", "evt.arg.tuple"].map((key): [string, Json, Json] => [
      key,
      "ffff9a0012345678->ffff9a0087654321 /var/run/docker.sock",
      "ffff9a00aaaaaaaa->0 /var/run/docker.sock",
    ]),
  ];
  for (const [key, one, two] of same) {
    assertEquals(idOf(alert({ [key]: one })), idOf(alert({ [key]: two })), key);
  }
  const different: [string, Json, Json][] = [
    ["jevt.value[/requestObject/spec/runtimeClassName]", "gvisor", "kata"],
    ["proc.exe_ino.mtime", "a", "b"],
    ["fd.name", "ffff9a0012345678->0 /run/a.sock", "ffff9a0012345678->0 /run/b.sock"],
  ];
  for (const [key, one, two] of different) {
    assertNotEquals(idOf(alert({ [key]: one })), idOf(alert({ [key]: two })), key);
  }
});

Deno.test("falco tells acts apart by their sentence, and names no resource, if output fields are off", () => {
  const off = (output: string, rest: JsonObject = {}) => {
    const { output_fields: _, ...body } = alert({}, { priority: "Notice", output, ...rest });
    return body;
  };
  const web = off("06:00:00.0: Notice A shell in a container (pod=web-1 container_id=0123456789ab pid=7)");
  assertEquals(event(web).resource, undefined);
  const again = off(
    "06:07:01.5: Notice A shell in a container (pod=web-1 container_id=ba9876543210 pid=812)",
  );
  assertEquals(idOf(web), idOf(again));
  const others = [
    off("06:00:00.0: Notice A shell in a container (pod=db-0 container_id=0123456789ab pid=7)"),
    off(String(web.output), { hostname: "node-2" }),
  ];
  assertEquals(new Set([web, ...others].map(idOf)).size, 3);
  // With fields, neither the sentence nor the host's name is part of it.
  const fields = { "k8s.pod.name": "web-1", "k8s.ns.name": "shop" };
  assertEquals(
    idOf(alert(fields, { output: "a", hostname: "n1" })),
    idOf(alert(fields, { output: "b", hostname: "n2" })),
  );
});

Deno.test("falco takes the time of the alert, else evt.time in nanoseconds", () => {
  assertEquals(
    event(alert({ "evt.time": 5 }, { time: "2026-11-01T00:00:01Z" })).detectedAt,
    "2026-11-01T00:00:01Z",
  );
  assertEquals(event(alert({ "evt.time": 1793491201686701548 })).detectedAt, 1793491201686);
  assertEquals("detectedAt" in event(alert({})), false);
});

Deno.test("falco reads the rest of an array whose items are not all alerts", () => {
  const read = drawn([alert({}), 7, { priority: "Error" }, alert({})]);
  assertEquals(read.map((item) => "event" in item ? "event" : `${item.error.reason} ${item.error.path}`), [
    "event",
    "wrong_shape [1]",
    "missing_field [2].rule",
    "event",
  ]);
});

Deno.test("falco says which setting turns plain text into JSON", () => {
  const [read] = drawn("14:50:34: Warning Sensitive file opened");
  if (read === undefined || !("error" in read)) throw new Error("expected an error");
  assertEquals(read.error.reason, "wrong_shape");
  assertStringIncludes(read.error.message, "json_output: true");
});

/** A token, in parts so that scanners do not take it for a leak. */
const TOKEN = ["ghp_", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6"].join("");

function detailsOf(body: Json): string {
  const payload = { body, origin: { confined: false }, receivedAt: 0 };
  return JSON.stringify(runtimeFor(falco).normalize(event(body), payload).details);
}

Deno.test("falco shows no part of a secret where a long field is cut", () => {
  for (let before = 980; before < 1_024; before++) {
    const cmdline = `${"x".repeat(before - 1)} ${TOKEN} ${"y".repeat(1_000)}`;
    const fields = { "proc.cmdline": cmdline, "evt.args": "z ".repeat(4_000) };
    const shown = detailsOf(alert(fields));
    assertStringIncludes(shown, "xxx");
    assertEquals(shown.includes("ghp_a"), false, `after ${before} characters`);
  }
});

Deno.test("falco masks an output field that has the name of a field of the alert itself", () => {
  const names = ["rule", "priority", "source", "hostname", "tags", "mitreTactics", "mitreTechniques"];
  const fields = Object.fromEntries(names.map((name) => [name, `login --token ${TOKEN}`]));
  assertEquals(detailsOf({ rule: "R", output_fields: fields }).includes("ghp_"), false);
  assertEquals(detailsOf(alert(fields, { tags: ["mitre_execution"] })).includes("ghp_"), false);
});
