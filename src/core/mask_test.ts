import { assert, assertEquals } from "@std/assert";
import { mask } from "./mask.ts";

/** Put together here, so that no scanner takes this file for a leak. */
const AWS_KEY = "AKIA" + "IOSFODNN7EXAMPLE";
const GITHUB_TOKEN = "ghp_" + "abcdefghij0123456789abcdefghij012345";
const JWT = "eyJ" + "hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P";

const MASKED: readonly [string, string][] = [
  // flags
  ["app --password=hunter2 --port=80", "app --password=*** --port=80"],
  ["app --password hunter2 --port 80", "app --password *** --port 80"],
  ["app --db-password='my secret' -v", "app --db-password='***' -v"],
  ['app --password="a \\" b" x', 'app --password="***" x'],
  ["app --apiKey=abc --api-key abc --token=abc", "app --apiKey=*** --api-key *** --token=***"],
  ["java -Dspring.datasource.password=abc -jar x", "java -Dspring.datasource.password=*** -jar x"],
  ["openssl rsa -passin pass:hunter2 -in key", "openssl rsa -passin pass:*** -in key"],
  ["mysql -u root -phunter2 db", "mysql -u root -p*** db"],
  ["/usr/bin/mysqldump -phunter2", "/usr/bin/mysqldump -p***"],
  ["sshpass -p hunter2 ssh host", "sshpass -p *** ssh host"],
  ["sh -c mysql -phunter2 db", "sh -c mysql -p*** db"],
  ["docker login -u me -p hunter2 reg.io", "docker login -u me -p *** reg.io"],
  ["redis-cli -a hunter2 ping", "redis-cli -a *** ping"],
  ["curl -u me:hunter2 https://x", "curl -u me:*** https://x"],
  ["curl --user 'me:hunter2' https://x", "curl --user 'me:***' https://x"],
  [
    "kubectl create secret generic s --from-literal=password=hunter2",
    "kubectl create secret generic s --from-literal=password=***",
  ],
  // environment
  ["PGPASSWORD=hunter2 psql -h db", "PGPASSWORD=*** psql -h db"],
  ["env GITHUB_TOKEN=abc MYSQL_ROOT_PASSWORD=def run", "env GITHUB_TOKEN=*** MYSQL_ROOT_PASSWORD=*** run"],
  ["AWS_SECRET_ACCESS_KEY=abc/def+g aws s3 ls", "AWS_SECRET_ACCESS_KEY=*** aws s3 ls"],
  ["export DBPASS=x", "export DBPASS=***"],
  // headers
  ["curl -H 'Authorization: Bearer abc.def' x", "curl -H 'Authorization: Bearer ***' x"],
  ["curl -H Authorization: Bearer abc.def -X POST", "curl -H Authorization: Bearer *** -X POST"],
  ["curl -H 'authorization: abcdef' x", "curl -H 'authorization: ***' x"],
  ["curl -H 'Authorization: Basic dXNlcjpwYXNz' x", "curl -H 'Authorization: Basic ***' x"],
  ["curl -H 'X-Api-Key: abc' -H 'PRIVATE-TOKEN: def'", "curl -H 'X-Api-Key: ***' -H 'PRIVATE-TOKEN: ***'"],
  ["curl -H 'Cookie: a=1; session=2' x", "curl -H 'Cookie: ***' x"],
  ["sent Bearer abcdefghijkl0123456789 to it", "sent Bearer *** to it"],
  // addresses
  ["git clone https://me:hunter2@git.io/x", "git clone https://me:***@git.io/x"],
  ["postgres://u:p@db:5432/x?sslmode=off", "postgres://u:***@db:5432/x?sslmode=off"],
  ["redis://:hunter2@cache", "redis://:***@cache"],
  ["GET https://x/?token=abc&page=2", "GET https://x/?token=***&page=2"],
  ["https://b.blob/x?sv=1&sig=a%2Fb&se=2", "https://b.blob/x?sv=1&sig=***&se=2"],
  ["Server=x;User=sa;Pwd=hunter2;Db=y", "Server=x;User=sa;Pwd=***;Db=y"],
  // JSON
  ['curl -d {"user":"me","password":"hunter2"}', 'curl -d {"user":"me","password":"***"}'],
  ["echo {'api_key': 'abc'}", "echo {'api_key': '***'}"],
  ['curl -d "{\\"password\\":\\"hunter2\\"}"', 'curl -d "{\\"password\\":\\"***\\"}"'],
  // tokens by their shape
  [`aws configure set ${AWS_KEY}`, "aws configure set ***"],
  [`found ${GITHUB_TOKEN}.`, "found ***"],
  [`jwt ${JWT} end`, "jwt *** end"],
];

Deno.test("mask() hides passwords, tokens and credential headers", () => {
  for (const [text, expected] of MASKED) assertEquals(mask(text), expected, text);
});

const UNTOUCHED: readonly string[] = [
  "",
  "CVE-2024-0001 in openssl 3.0.1: buffer overflow",
  "Ensure that the --token-auth-file parameter is not set (Automated)",
  "Ensure that the --service-account-private-key-file argument is set",
  "Ensure that the --token argument is not set, nor --password",
  "kube-apiserver --anonymous-auth=false --authorization-mode=Node,RBAC --enable-bootstrap-token-auth=true",
  "ps -p 42; mkdir -p /tmp/x; ssh -p 22 host; docker run -p 80:80 nginx",
  "mysql -P3306 -h db",
  "psql -p 5432",
  "PWD=/home/me OLDPWD=/ HOME=/root",
  "secret-access: get secrets/db by system:serviceaccount:shop:web",
  "resource=secrets verb=get secretName=db",
  "Container 'web' of Deployment 'shop' should set 'securityContext.allowPrivilegeEscalation' to false",
  "container.image.repository=docker.io/library/nginx user=root terminal=34816",
  "pkg:npm/%40angular/core@12.3.1 sha256:0123456789abcdef",
  "Basic authentication is enabled, Bearer tokens are not",
  "docker login --password-stdin reg.io",
  "https://github.com/x/y#L1:2@z",
  "mailto:someone@example.com and user@host:/path",
  "key=value, app.kubernetes.io/name=web",
];

Deno.test("mask() leaves ordinary text alone", () => {
  for (const text of UNTOUCHED) assertEquals(mask(text), text);
});

Deno.test("mask() changes nothing the second time", () => {
  for (const [text] of MASKED) assertEquals(mask(mask(text)), mask(text), text);
});

Deno.test("mask() is linear on text made to be slow", () => {
  const units = [
    "password=",
    "://",
    'token="',
    'token=\\"',
    "a:b@",
    "-p ",
    "curl -u ",
    "Authorization: ",
    "Cookie: a;",
    "Bearer ",
    "eyJ",
    "mysql -p",
    "--password ",
    "'\"",
    "x-token:",
    "=",
    ":",
    "\\",
  ]; // deno-fmt-ignore
  for (const unit of units) {
    const text = `mysql ${unit.repeat(Math.ceil(1_000_000 / unit.length))}`;
    // Quadratic work on a megabyte would not end within the test run; a length bound shows it ended sanely.
    assert(mask(text).length <= text.length * 4, unit);
  }
});
