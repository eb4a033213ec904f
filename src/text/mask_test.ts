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
  ["mysql -p'hunter 2' db", "mysql -p'***' db"],
  ["curl -ume:hunter2 https://x", "curl -ume:*** https://x"],
  ["curl -sku me:hunter2 https://x", "curl -sku me:*** https://x"],
  ["curl --user=me:hunter2 https://x", "curl --user=me:*** https://x"],
  ['curl -b "sid=hunter2" x', 'curl -b "***" x'],
  ["redis-cli -h db -ahunter2", "redis-cli -h db -a***"],
  ["useradd -p hunter2 me", "useradd -p *** me"],
  ["http -a me:hunter2 x", "http -a me:*** x"],
  // commands inside other text: a shell's argument, a list, what Falco's `output` says
  ['sh -c "mysql -u root -phunter2 db"', 'sh -c "mysql -u root -p*** db"'],
  ["cd /x;mysql -phunter2", "cd /x;mysql -p***"],
  ["echo 1|mysql -phunter2", "echo 1|mysql -p***"],
  ["$(mysql -phunter2)", "$(mysql -p***"],
  [
    "Shell (user=root command=mysql -uroot -phunter2 pid=1)",
    "Shell (user=root command=mysql -uroot -p*** pid=1)",
  ],
  ["(cmdline=curl -u me:hunter2 http://x parent=sh)", "(cmdline=curl -u me:*** http://x parent=sh)"],
  ["proc_cmdline=/usr/bin/sshpass -p hunter2 ssh", "proc_cmdline=/usr/bin/sshpass -p *** ssh"],
  [
    "/api/v1/pods/db/exec?command=mysql&command=-phunter2&container=db",
    "/api/v1/pods/db/exec?command=mysql&command=***&container=db",
  ],
  [
    "/exec?command=sh&command=-c&command=mysql+-phunter2&stdin=true",
    "/exec?command=sh&command=***&command=***&stdin=true",
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
  ["curl -H Cookie: abcdef -H Authorization: abcdef x", "curl -H Cookie: *** -H Authorization: *** x"],
  ["sent authorization: abc123 and Cookie: a=b", "sent authorization: *** and Cookie: ***"],
  ["sent Bearer abcdefghijkl0123456789 to it", "sent Bearer *** to it"],
  ["curl -H 'apikey: hunter2' -H 'Token: hunter2'", "curl -H 'apikey: ***' -H 'Token: ***'"],
  ["echo password: hunter2 > f", "echo password: *** > f"],
  ["password = hunter2", "password = ***"],
  ["map[password:hunter2 user:me]", "map[password:*** user:me]"],
  // addresses
  ["git clone https://me:hunter2@git.io/x", "git clone https://me:***@git.io/x"],
  ["postgres://u:p@db:5432/x?sslmode=off", "postgres://u:***@db:5432/x?sslmode=off"],
  ["redis://:hunter2@cache", "redis://:***@cache"],
  ["GET https://x/?token=abc&page=2", "GET https://x/?token=***&page=2"],
  ["https://b.blob/x?sv=1&sig=a%2Fb&se=2", "https://b.blob/x?sv=1&sig=***&se=2"],
  ["Server=x;User=sa;Pwd=hunter2;Db=y", "Server=x;User=sa;Pwd=***;Db=y"],
  [
    `curl https://hooks.slack.com/services/T00/B00/${"x".repeat(24)} -d 1`,
    "curl https://hooks.slack.com/services/*** -d 1",
  ],
  ["https://api.telegram.org/bot1:abc/sendMessage", "https://api.telegram.org/bot***"],
  // JSON
  ['curl -d {"user":"me","password":"hunter2"}', 'curl -d {"user":"me","password":"***"}'],
  ["echo {'api_key': 'abc'}", "echo {'api_key': '***'}"],
  ['curl -d "{\\"password\\":\\"hunter2\\"}"', 'curl -d "{\\"password\\":\\"***\\"}"'],
  // values that only look like a shell's references
  ["app --password ${X:-hunter2} -v", "app --password *** -v"],
  ['{"password": "${X:-hunter2}"}', '{"password": "***"}'],
  ["{password=${X:-hunter2}}", "{password=***}"],
  ["mysql -p'${X:-hunter2}' db", "mysql -p'***' db"],
  ["REDIS_TOKEN=${T-hunter2} run", "REDIS_TOKEN=*** run"],
  ["DB_PASSWORD=$(echo${x}hunter2) run", "DB_PASSWORD=*** run"],
  ["--password=${USER}hunter2", "--password=***"],
  ['--password="${USER} hunter2"', '--password="***"'],
  ["my-client-key=/abcSECRET", "my-client-key=***"],
  ["client-key: /abc+def1/x=", "client-key: ***"],
  ["password: 1hunter2 token: v1hunter", "password: *** token: ***"],
  ["token: 2026-01-01hunter2", "token: ***"],
  ["curl -sb sid=hunter2 x", "curl -sb *** x"],
  ["openssl enc -aes256 -k hunter2 -in x", "openssl enc -aes256 -k *** -in x"],
  // headers without a scheme, and as other tools write them
  ["Authorization: deadbeefcafe", "Authorization: ***"],
  ["http x Authorization:hunterhunter", "http x Authorization:***"],
  ["grpcurl -rpc-header authorization:hunter x", "grpcurl -rpc-header authorization:*** x"],
  ["grpcurl -rpc-header authorization: hunter me", "grpcurl -rpc-header authorization: *** me"],
  ["proxy_set_header Authorization: hunter", "proxy_set_header Authorization: ***"],
  ["authorization: hunter", "authorization: ***"],
  ["map[Accept:[x] Authorization:[hunterpass]]", "map[Accept:[x] Authorization:[***"],
  ["map[Authorization:[Bearer hunterpass]]", "map[Authorization:[Bearer ***"],
  ["Cookie: a; session=hunter2", "Cookie: ***"],
  ["cookie: a; session=hunter2", "cookie: ***"],
  [
    `Cookie: .AspNetCore.OpenIdConnect.Nonce.CfDJ8${"x".repeat(64)}=N; .AspNetCore.Cookies=hunter2`,
    "Cookie: ***",
  ],
  [`cookie: nonce${"x".repeat(64)}=N; session=hunter2`, "cookie: ***"],
  // an address in an address's command is looked at as any other text
  [
    "/exec?command=curl&command=x?command=a&command=--token=hunter2",
    "/exec?command=curl&command=***&command=***",
  ],
  // tokens by their shape
  [`aws configure set ${AWS_KEY}`, "aws configure set ***"],
  [`found ${GITHUB_TOKEN}.`, "found ***"],
  [`jwt ${JWT} end`, "jwt *** end"],
  [`vault login ${"hvs." + "CAESIJlW0123456789abcdef"}`, "vault login ***"],
  [
    "aws configure set aws_secret_access_key wJalrXUtnFEMI7MDENG",
    "aws configure set aws_secret_access_key ***",
  ],
  [
    `echo ${"-----BEGIN"} RSA PRIVATE KEY----- MIIE abc ${"-----END"} RSA PRIVATE KEY----- > f`,
    `echo ${"-----BEGIN"} RSA PRIVATE KEY-----***${"-----END"} RSA PRIVATE KEY----- > f`,
  ],
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
  "cookie: cookie accepts cookie name, path, and domain with out of bounds characters",
  "edit the file to set authorization: mode to Webhook. If using executable arguments",
  "Ensure that the --kubelet-client-certificate and --kubelet-client-key arguments are set as appropriate",
  "kube-apiserver --kubelet-client-key=/etc/kubernetes/pki/apiserver-kubelet-client.key --v=2",
  "--kubelet-client-key=<path/to/client-key-file>",
  '--client-cert-auth="true"',
  '"authorization": { "mode": "Webhook" }',
  "token=$(cat /tmp/x) password=${PASSWORD}",
  "jsonwebtoken: Insecure default algorithm in jwt.verify() could lead to signature validation bypass",
  "registry.example.com/team/token:1.2 and csi-secret:v2",
  "kube-system/my-token: the password: must have 8 characters",
  "Shell in container_name=mysql image=mariadb command=mkdir -p /var/lib/x",
  "jane create serviceaccounts/token kube-system/node-controller-12345 (201)",
  "jane delete secrets payments/db-credentials-2024-01 (200)",
  "/api/v1/namespaces/shop/pods/web/exec?command=ls&command=-p&container=web",
  "--password=$(kubectl get secret) --token=$(DB_TOKEN) {password: ${PASSWORD}} '--password ${PASSWORD}'",
  "curl -b cookies.txt -sb jar x",
  "openssl rsa -check x.pem; openssl x509 -in c -check host",
  "csrf-token:v1.2.3 vault-secret:1.13.0-alpine image=sealed-secret:v0.27.1 client-secret: v1.2.3",
  "private-key: /etc/ssl/key1.pem",
  "token: 2026-01-01T00:00:00Z",
  "csrf-token: CVE-2020-11023, passwd: CVE2020",
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
    "cookie:",
    "authorization:",
    "password:",
    "password : ",
    "password = ",
    "?command=mysql&command=a",
    "command=mysql ",
    "-----BEGIN PRIVATE KEY",
    "?command=",
    "?command=%3F",
    "?command=a&",
    "?command=a?command=mysql&command=-px",
    "token=${",
    "pass:${",
    "pass:$(",
    "pass:<",
    "token=$(",
    'token="${',
    'token=\\"${',
    "client-key=/",
    "private-key:/",
    "authorization: a ",
    "Authorization:[",
    "https://hooks.slack.com/",
    "=",
    ":",
    "\\",
  ]; // deno-fmt-ignore
  const commands: Record<string, readonly string[]> = {
    mysql: units,
    curl: ["--user=", "--user=a:", "-u ", "-b ", '-b "', "-u"],
    skopeo: ["--creds=", "--creds=a:"],
  };
  for (const [command, repeated] of Object.entries(commands)) {
    for (const unit of repeated) {
      const text = `${command} ${unit.repeat(Math.ceil(1_000_000 / unit.length))}`;
      // Quadratic work on a megabyte would not end within the test run; a length bound shows it ended sanely.
      assert(mask(text).length <= text.length * 4, unit);
    }
  }
});
