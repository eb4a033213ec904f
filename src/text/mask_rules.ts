/** The rules of the mask: which texts hold a secret, and where it is. mask.ts applies them. */

/** How far a value goes: to the end of its word, to the next separator of a list, over all credentials of a header, or to the end of a key block. */
export type Extent = "word" | "item" | "credentials" | "key block";

/** What a rule found: the text, the match (the value begins where it ends) and the name it captured. */
export interface Found {
  readonly text: string;
  readonly start: number;
  readonly valueAt: number;
  readonly name: string;
  readonly match: RegExpExecArray;
  /** The name of the object that the text is about, which is no secret; "" if unknown. */
  readonly objectName: string;
}

/** One kind of secret. */
export interface MaskRule {
  readonly name: string;
  /** Lower-case words, one of which is in every text that the rule matches. */
  readonly keywords: readonly string[];
  /** Ends where the value begins, or holds it as the group `value`. Each repetition is bounded, so it is linear. */
  readonly pattern: RegExp;
  /** How far the value goes, where the pattern has no group `value`; false where there is no secret. */
  readonly extent?: Extent | ((found: Found) => Extent | false);
  /** True where the value is a secret. */
  readonly check?: (value: string, found: Found) => boolean;
  /** Texts, each with what the mask makes of it. */
  readonly hides: readonly (readonly [string, string])[];
  /** Texts that look alike and hold no secret. */
  readonly leaves: readonly string[];
  /** Repeated, the text that costs the rule most. */
  readonly worst: string;
}

/** Where a command's option has its secret: the next word or attached to it, only attached, or a part of that value. */
export type Place =
  | "value"
  | "attached"
  | "next"
  | "after :"
  | "after %"
  | "after ,"
  | "after /"
  | "after ="
  | "cookie";

/** A command whose options or words are secrets that no name tells. */
export interface CommandRule {
  readonly commands: readonly string[];
  /** The words after the command that make it this one: `login`, `configure set`. */
  readonly subcommands?: readonly string[];
  readonly options?: Readonly<Record<string, Place>>;
  /** Which words that are no options are secrets, counted from 0. */
  readonly positional?: readonly number[];
  /** The option, alone or among others in one word, without which no word is a secret. */
  readonly positionalWith?: string;
}

const LOGIN_TOOLS = [
  "docker",
  "podman",
  "nerdctl",
  "buildah",
  "helm",
  "oc",
  "az",
  "argocd",
  "skopeo",
  "cf",
  "crane",
];
const MYSQL_TOOLS = ["mysql", "mysqldump", "mysqladmin", "mysqlimport", "mysqlcheck", "mysqlsh", "mysqlshow"];
const MONGO_TOOLS = ["mongo", "mongosh", "mongodump", "mongorestore", "mongoimport", "mongoexport"];
const LDAP_TOOLS = [
  "ldapsearch",
  "ldapmodify",
  "ldapadd",
  "ldapwhoami",
  "ldapdelete",
  "ldapcompare",
];
const SNMP_TOOLS = [
  "snmpwalk",
  "snmpget",
  "snmpgetnext",
  "snmpset",
  "snmpbulkwalk",
  "snmpbulkget",
  "snmptrap",
];
const SMB_TOOLS = ["smbclient", "rpcclient", "smbget", "smbmap", "winexe", "smbcacls", "pth-winexe"];
const ATTACK_TOOLS = ["crackmapexec", "nxc", "netexec", "hydra", "evil-winrm", "medusa"];

/** Commands, their options that take a secret, and their words that are one. */
export const COMMAND_RULES: readonly CommandRule[] = [
  { commands: [...MYSQL_TOOLS, "mariadb", "mariadb-dump", "mariadb-admin"], options: { "-p": "attached" } },
  { commands: ["sshpass"], options: { "-p": "value" } },
  {
    commands: [...MONGO_TOOLS, "cqlsh", "beeline", "twine", "rdesktop", "useradd", "usermod"],
    options: { "-p": "next" },
  },
  { commands: ATTACK_TOOLS, options: { "-p": "next" } },
  { commands: ["sqlcmd", "bcp", "isql", "osql"], options: { "-P": "value" } },
  { commands: ["redis-cli", "valkey-cli", "keydb-cli"], options: { "-a": "value", "--pass": "next" } },
  { commands: [...LDAP_TOOLS, "ldappasswd"], options: { "-w": "value" } },
  { commands: ["ldappasswd"], options: { "-s": "next", "-a": "next" } },
  { commands: ["kadmin"], options: { "-w": "next" } },
  { commands: ["openssl"], options: { "-k": "next", "-K": "next" } },
  { commands: ["zip", "unzip", "zipcloak"], options: { "-P": "next" } },
  { commands: ["7z", "7za", "7zr", "rar", "unrar"], options: { "-p": "attached" } },
  { commands: LOGIN_TOOLS, subcommands: ["login", "registry login"], options: { "-p": "next" } },
  {
    commands: ["curl"],
    options: {
      "-u": "after :",
      "--user": "after :",
      "-U": "after :",
      "--proxy-user": "after :",
      "-b": "cookie",
    },
  },
  { commands: ["http", "https", "xh"], options: { "-a": "after :", "--auth": "after :" } },
  { commands: ["etcdctl"], options: { "--user": "after :" } },
  { commands: ["vault"], subcommands: ["login"], positional: [0] },
  {
    commands: ["keytool", "jarsigner", "apksigner"],
    options: {
      "-storepass": "next",
      "-keypass": "next",
      "-srcstorepass": "next",
      "-deststorepass": "next",
      "-srckeypass": "next",
      "-destkeypass": "next",
      "-new": "next",
    },
  },
  { commands: SMB_TOOLS, options: { "-U": "after %", "--user": "after %" } },
  { commands: ["htpasswd"], positional: [2], positionalWith: "b" },
  { commands: ["htpasswd"], subcommands: ["-nb", "-bn", "-nbB", "-Bbn", "-bnB", "-nbm"], positional: [1] },
  { commands: SNMP_TOOLS, options: { "-c": "next", "-A": "next", "-X": "next" } },
  { commands: ["wpa_passphrase"], positional: [1] },
  {
    commands: ["rabbitmqctl"],
    subcommands: ["add_user", "change_password", "authenticate_user"],
    positional: [1],
  },
  { commands: ["lftp"], options: { "-u": "after ,", "--user": "after ," } },
  { commands: ["xfreerdp", "wlfreerdp", "mstsc"], options: { "/p:": "attached" } },
  { commands: ["net", "net.exe"], subcommands: ["user"], positional: [1] },
  { commands: ["nmcli"], options: { password: "next" } },
  { commands: ["kubectl", "oc", "k3s"], options: { "--from-literal": "after =" } },
  { commands: ["mosquitto_pub", "mosquitto_sub", "mosquitto_rr"], options: { "-P": "next" } },
  { commands: ["mosquitto_passwd"], positional: [2], positionalWith: "b" },
  { commands: ["ipmitool", "ssh-keygen"], options: { "-P": "next", "-N": "next" } },
  { commands: ["plink", "pscp", "psftp", "nodetool"], options: { "-pw": "next" } },
  { commands: ["mc"], subcommands: ["alias set", "config host add"], positional: [3] },
  { commands: ["snyk"], subcommands: ["auth"], positional: [0] },
  { commands: ["cf"], subcommands: ["auth"], positional: [1] },
  { commands: ["doctl", "influx"], options: { "-t": "next" } },
  { commands: ["ncftp", "ncftpput", "ncftpget", "ncftpls"], options: { "-p": "next" } },
  { commands: ["gitlab-runner"], subcommands: ["register"], options: { "-r": "next" } },
  { commands: ["flyctl"], subcommands: ["auth token"], positional: [0] },
  { commands: ["ngrok"], subcommands: ["authtoken", "config add-authtoken"], positional: [0] },
  { commands: ["sqlplus", "sqlldr", "expdp", "impdp"], options: { "": "after /" } },
];

/** A part of a name that makes its value a secret, wherever it ends one. */
const SECRET_ENDING = /(?:password|passwd|passphrase|passcode|secret|token|apikey)$/;
const SECRET_WORDS = words(
  "pass pwd psw pw creds cred credential credentials passwords secrets tokens auth authorization cookie sig signature",
  "sessionid bearer jwt accesskey privatekey secretkey authkey storepass keypass psk",
);
/** `key` alone names many things; after one of these it names a secret. */
const KEY_QUALIFIERS = words(
  "api access private secret auth signing encryption master account shared storage client license ssh subscription",
);
/** What a name that ends so holds is about the secret, not the secret. */
const HARMLESS_ENDINGS = words(
  "file files path dir directory url uri endpoint name namespace type ttl count length size expiry expires expiration",
  "lifetime policy mode enabled version rotation interval timeout ref refs class review webhook config field header",
  "algorithm provider seconds days max min attempts format prompt stdin",
);
/** Names that end like a secret's and hold a name. */
const HARMLESS_NAMES = /initial[-_]cluster[-_]token$/;
/** Names that often hold no secret, and the values with which they do not: `pass=34`, `sig=SIGTERM`, `signature=v4`. */
const WEAK_NAMES = words("pass pw sig signature auth cookie tokens secrets creds credentials");
const WEAK_VALUE = /^(?:\d{1,3}%?|v\d{1,2}|SIG[A-Z]{2,8}\d{0,2})(?=[\s,;)\]}]|$)/;
const SECRET_HEADERS = words(
  "authorization proxy-authorization cookie set-cookie private-token deploy-token job-token api-key auth-token",
  "access-token ocp-apim-subscription-key",
);
const HINTS = [
  "pass",
  "pw",
  "secret",
  "token",
  "key",
  "cred",
  "auth",
  "cookie",
  "sig",
  "session",
  "jwt",
  "bearer",
  "psw",
  "psk",
];
/** Last words of names that are a secret's own even before a colon, where sentences put other words. */
const PLAIN_NAMES = words("password passwd passphrase passcode token apikey");
/** Words after a flag in a sentence about it. */
const PROSE = words(
  "argument parameter flag option setting value arguments parameters flags options settings values is are was were and",
  "or to must should can as if with in on for from not",
);
const AUTH_SCHEME = /^(?:bearer|basic|digest|token|negotiate|apikey|ntlm|aws4-hmac-sha256)$/i;

function words(...lines: readonly string[]): ReadonlySet<string> {
  return new Set(lines.join(" ").split(" "));
}

/** The words of a name in any convention, lower-case: `--dbPassword-file` is db, password, file. */
function wordsOf(name: string): string[] {
  return name.replace(/[a-z](?=[A-Z])|[A-Z](?=[A-Z][a-z])/g, "$& ").toLowerCase().split(/[^a-z0-9]+/).filter((
    word,
  ) => word !== "");
}

/** True for the name of a flag, variable or key whose value is a secret: `--db-password`, `GITHUB_TOKEN`, `apiKey`. */
function isNameOfSecret(name: string): boolean {
  const lower = name.toLowerCase();
  if (name.length < 2 || name === "PWD" || name === "OLDPWD" || !HINTS.some((hint) => lower.includes(hint))) {
    return false;
  }
  const parts = wordsOf(name);
  const last = parts.at(-1) ?? "";
  if (HARMLESS_ENDINGS.has(last) || HARMLESS_NAMES.test(lower)) return false;
  // `DbPassWord` has its last word in two.
  if (SECRET_ENDING.test(lower) || SECRET_WORDS.has(last)) return true;
  if (
    parts.some((part, at) =>
      SECRET_ENDING.test(part) || (part === "key" && KEY_QUALIFIERS.has(parts[at - 1] ?? ""))
    )
  ) {
    return true;
  }
  return /[^P]PASS$/.test(name) && name === name.toUpperCase(); // DBPASS
}

/** True for a name that is the secret's own: `password`, `db_password`, `api-key`; not `jsonwebtoken`, a package. */
function isPlainNameOfSecret(name: string): boolean {
  if (!isNameOfSecret(name)) return false;
  const parts = wordsOf(name);
  const last = parts.at(-1) ?? "";
  return PLAIN_NAMES.has(last) || (parts.length > 1 && /^(?:secret|key|word)$/.test(last));
}

/** True for the name of a header that carries credentials: `Authorization`, `X-Api-Key`, `PRIVATE-TOKEN`. */
function isHeaderOfSecret(name: string): boolean {
  const header = name.toLowerCase();
  return SECRET_HEADERS.has(header) || (header.startsWith("x-") && isNameOfSecret(name));
}

/** True for what no word of a language looks like: long, with a digit. */
function looksRandom(value: string): boolean {
  return value.length >= 12 && /\d/.test(value.slice(0, 512));
}

/** True for what may be a password and is no word of a sentence, version, date or vulnerability's id. */
function looksLikePassword(value: string): boolean {
  if (value.length < 4 || value.endsWith(":")) return false;
  if (/^(?:v?\d+\.\d|CVE-?\d|\d{4}-\d\d-\d\d(?:T\d|$))/.test(value)) return false;
  return /[a-z]/i.test(value) && (/\d/.test(value) || /[!#$%^&*+~?][a-z]/i.test(value));
}

/** True where the word after a flag is its value, not the rest of a sentence about the flag. */
export function isFlagValue(value: string): boolean {
  return value !== "" && value !== "=" && !/^["'`]?-/.test(value) &&
    !PROSE.has(value.toLowerCase().replace(/[.,;:]$/, ""));
}

/** True where the value at `start` is a file's path: base64 may begin with a slash too, so one alone is not enough. */
function isPath(text: string, start: number): boolean {
  const path = /^\/[\w./-]{0,255}(?=$|[\s"'`\\&;,)}\]|<>])/.exec(text.slice(start, start + 257))?.[0] ?? "";
  return path.includes("/", 1) || path.endsWith(".key") || path.endsWith(".pem");
}

/** True for `secret=db-credentials`: the name of a Secret, as tools print it; a name like a password only if it is known. */
function isObjectName(value: string, { name, objectName }: Found): boolean {
  if (!/^secrets?$/i.test(name)) return false;
  const word = value.replace(/[)\]}.,;:]{1,4}$/, "");
  return word === objectName ||
    (/^[a-z][a-z0-9]*(?:[-./][a-z0-9]+)*$/.test(word) && !/[a-z]\d{3}/.test(word));
}

/** `name=value`, `name: value`, `"name": "value"`, `name = value`, `/name:value`. */
function assigned({ text, start, valueAt, name, match }: Found): Extent | false {
  const { quote = "", gap = "", sign = "" } = match.groups ?? {};
  const at = start - gap.length - quote.length - name.length;
  const before = text[at - 1] ?? " ";
  const startsWord = /[\s"'`]/.test(before);
  if (sign[0] === "=" && quote === "" && gap === "") {
    if (text[start + 1] !== undefined && valueAt > start + sign.length) return false; // `password= next`
    if (!isNameOfSecret(name) || (/client-key$/i.test(name) && isPath(text, valueAt))) return false;
    if (WEAK_NAMES.has(name) && WEAK_VALUE.test(text.slice(valueAt, valueAt + 16))) return false;
    const isListed = /^[^\s;"'`]{1,128};[A-Z][\w ]{0,32}=/.test(text.slice(valueAt, valueAt + 192)); // a connection string
    return startsWord && !isListed ? "word" : "item";
  }
  if (quote !== "") {
    // `secret "db-token": permission denied` names an object; `"token": "x"`, `"token":x` and `{"token": x}` hold a value.
    const word = wordAt(text, valueAt);
    const isMember = sign[0] === "=" || (gap === "" && valueAt === start + 1) ||
      MEMBER_VALUE.test(text.slice(valueAt, valueAt + 64)) || looksLikePassword(word) ||
      (/[{,]\s{0,4}$/.test(text.slice(Math.max(0, at - quote.length - 5), at - quote.length)) &&
        /[,}]/.test(text[valueAt + word.length] ?? ""));
    return isMember && isNameOfSecret(name) ? "item" : false;
  }
  if (sign[0] === ":" && isHeaderOfSecret(name)) return false; // the headers' own rule
  if (name === "pass" && sign === ":" && valueAt === start + 1) return "word"; // openssl -passin pass:x
  const isWindowsFlag = before === "/" && /\s/.test(text[at - 2] ?? " ") && sign === ":";
  if (isWindowsFlag) return isNameOfSecret(name) && valueAt === start + 1 ? "word" : false;
  const isFlag = /(?:^|[\s"'`])--?[\w.-]*$/.test(text.slice(Math.max(0, at - 4), at + 3)) && sign[0] === "=";
  if (isFlag && isNameOfSecret(name)) return "word";
  const isFragment = before === "#" && /\S/.test(text[at - 2] ?? " ");
  if ("/@:%".includes(before) || isFragment || !isPlainNameOfSecret(name) || isPath(text, valueAt)) {
    return false;
  }
  if (/["'`]/.test(text[valueAt] ?? "")) return "item";
  return looksLikePassword(wordAt(text, valueAt)) ? "item" : false;
}

/** A quoted string, or a number that is a whole member: what follows a name in JSON. */
const MEMBER_VALUE = /^(?:\\?["'`]|-?\d{1,40}\s{0,8}(?:[,}\]]|$))/;

/** The beginning of the word or item at `start`. */
function wordAt(text: string, start: number): string {
  return /^[^\s&;,"'`)}\]|<>\\]*/.exec(text.slice(start, start + 64))?.[0] ?? "";
}

/** Two words, `mode: Webhook`, or a version: what follows `authorization:` in a sentence or a package's name. */
const SENTENCE = /^(?:[a-z]{1,32}:? [a-zA-Z]{2,32}(?:[\s.,;:)]|$)|v?\d{1,9}(?:\.\d{1,9}){1,4}(?=[\s,;)]|$))/;

/** A header's credentials; false for sentences: `set authorization: mode to Webhook`, `Binary Authorization: …`. */
function credentials({ text, start, valueAt, name }: Found): Extent | false {
  if (!isHeaderOfSecret(name)) return false;
  const before = text.slice(Math.max(0, start - 32), start);
  const value = text.slice(valueAt, valueAt + 64);
  const isOption = /(?:^|\s)-[^\s]*\s*["'`]?$/.test(before) || /["'`]$/.test(before);
  const first = /^\[?([^\s"'`]*)/.exec(value)?.[1] ?? "";
  if (isOption || AUTH_SCHEME.test(first)) return "credentials";
  if (/(?:^|\s)(?:binary|missing|enable|require|requires)\s$/i.test(before)) return false;
  const isWord = /^(?:authorization|cookie|set-cookie)$/.test(name) &&
    /^\s/.test(text.slice(start + name.length + 1));
  return isWord && SENTENCE.test(value) ? false : "credentials";
}

/** Tools that read a password from their standard input. */
const READS_PASSWORD =
  /(?:^|[\s/;&|(])(?:kinit|passwd|chpasswd|su|sudo -S|cryptsetup|openvpn|ssh-add|gpg)(?:\s[^|;&<]*)?$|--(?:password|passphrase|token)-(?:stdin|fd)[^|;&<]*$/;

/** A vendor's tokens, known by their first letters; a token has a digit, a long name with dashes may have none. */
function tokens(
  name: string,
  prefixes: readonly string[],
  { min = 20, chars = "[\\w.-]", example = "" } = {},
): MaskRule {
  const shape = prefixes.map((prefix) => prefix.replaceAll(".", "\\.")).join("|");
  const text = (example || prefixes[0] || "") + "a1B2c3D4".repeat(Math.ceil(min / 8)).toUpperCase();
  return {
    name,
    keywords: prefixes.map((prefix) => prefix.toLowerCase()),
    pattern: new RegExp(`(?<![\\w-])(?<value>(?:${shape})${chars}{${min},4096})`, "g"),
    check: looksRandom,
    hides: [[`found ${text} in it`, "found *** in it"]],
    leaves: [`found ${prefixes[0]} in it`],
    worst: `${prefixes[0]} `,
  };
}

/** Every rule. Each is run over the whole text, and what any finds is hidden. */
export const RULES: readonly MaskRule[] = [
  {
    name: "private key",
    keywords: ["private key"],
    pattern: /-----BEGIN (?:[A-Z]{1,16} ){0,3}PRIVATE KEY(?: BLOCK)?-----/g,
    extent: "key block",
    hides: [[
      `${"-----BEGIN"} RSA PRIVATE KEY----- MIIE ${"-----END"} RSA PRIVATE KEY-----`,
      `${"-----BEGIN"} RSA PRIVATE KEY-----***${"-----END"} RSA PRIVATE KEY-----`,
    ]],
    leaves: [`${"-----BEGIN"} CERTIFICATE----- MIIE ${"-----END"} CERTIFICATE-----`],
    worst: "-----BEGIN A B C ",
  },
  tokens("AWS key", ["AKIA", "ASIA"], { min: 16, chars: "[A-Z0-9]" }),
  tokens("Google API key", ["AIza"], { min: 30 }),
  tokens("Google OAuth token", ["ya29.", "GOCSPX-"]),
  tokens("GitHub token", ["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"]),
  tokens("GitLab token", ["glpat-", "gldt-", "glrt-", "glcbt-", "glptt-"], { min: 16 }),
  tokens("Slack token", ["xoxb-", "xoxp-", "xoxa-", "xoxs-", "xoxr-", "xapp-"], { min: 10 }),
  tokens("npm token", ["npm_"], { min: 30 }),
  tokens("PyPI token", ["pypi-"], { min: 40 }),
  tokens("Vault token", ["hvs.", "hvb.", "hvr."]),
  tokens("Docker token", ["dckr_pat_", "dckr_oat_"], { min: 16 }),
  tokens("Stripe key", ["sk_live_", "rk_live_", "sk_test_", "whsec_"], { min: 16 }),
  tokens("SendGrid key", ["SG."], { min: 40 }),
  tokens("model provider key", ["sk-"], { min: 32 }),
  tokens("DigitalOcean token", ["dop_v1_", "doo_v1_"], { min: 32 }),
  tokens("Hugging Face token", ["hf_"], { min: 30 }),
  tokens("Databricks token", ["dapi"], { min: 32, chars: "[0-9a-fA-F]" }),
  tokens("Grafana token", ["glsa_", "glc_"], { min: 24 }),
  tokens("Shopify token", ["shpat_", "shpss_", "shpca_"], { min: 24 }),
  tokens("Linear key", ["lin_api_"], { min: 24 }),
  tokens("age key", ["AGE-SECRET-KEY-1"], { min: 40 }),
  tokens("JSON Web Token", ["eyJ"], { min: 30 }),
  {
    name: "credential header",
    keywords: ["authorization", "cookie", "token", "key", "x-"],
    pattern: /(?<![\w.-])(?<name>[\w-]{3,64}):\s{0,16}/g,
    extent: credentials,
    hides: [
      ["curl -H 'Authorization: Bearer abc.def' x", "curl -H 'Authorization: Bearer ***' x"],
      ["map[Authorization:[Bearer hunterpass]]", "map[Authorization:[Bearer ***"],
    ],
    leaves: ["Ensure use of Binary Authorization: a.b in /gke.tf", "set authorization: mode to Webhook"],
    worst: "authorization: a ",
  },
  {
    name: "bearer",
    keywords: ["bearer", "basic"],
    pattern: /(?<![\w-])(?:bearer|basic)\s{1,16}(?<value>[^\s"'`]{12,4096})/gi,
    check: looksRandom,
    hides: [["sent Bearer abcdefghijkl0123456789 to it", "sent Bearer *** to it"]],
    leaves: ["Basic authentication is enabled, Bearer tokens are not"],
    worst: "Bearer a",
  },
  {
    name: "password in an address",
    keywords: ["://"],
    pattern:
      /:\/\/[^\s:/?#@[\]"'`<>]{0,128}:(?!\d{1,5}(?:[/?#]|$))(?<value>[^\s"'`<>/?#]{1,512}(?=@)|[^\s"'`<>@]{1,512}(?=@))/g,
    hides: [
      ["git clone https://me:hunter2@git.io/x", "git clone https://me:***@git.io/x"],
      ["git clone https://me:hun/ter2@git.io/x", "git clone https://me:***@git.io/x"],
    ],
    leaves: ["https://host:8080/path@x", "https://github.com/x/y#L1:2@z"],
    worst: "://a:b",
  },
  {
    name: "token in an address",
    keywords: ["://"],
    pattern: /:\/\/(?<value>[^\s:/?#@[\]"'`<>]{12,256})(?=@)/g,
    check: looksRandom,
    hides: [["https://abcdef0123456789@github.com/x", "https://***@github.com/x"]],
    leaves: ["ssh://git@github.com/x"],
    worst: "://aaaaaaaaaaaaa",
  },
  {
    name: "secret path",
    keywords: [
      "hooks.slack.com/",
      "/api/webhooks/",
      "api.telegram.org/bot",
      "webhook.office.com/",
      "outlook.office.com/webhook/",
      "hooks.zapier.com/",
      "maker.ifttt.com/",
    ],
    pattern:
      /(?:hooks\.slack\.com\/(?:services|workflows|triggers)\/|discord(?:app)?\.com\/api\/webhooks\/|api\.telegram\.org\/bot|webhook\.office\.com\/webhookb2\/|outlook\.office\.com\/webhook\/|hooks\.zapier\.com\/hooks\/catch\/|maker\.ifttt\.com\/trigger\/[\w-]{1,64}\/with\/key\/)/g,
    extent: "word",
    hides: [["https://api.telegram.org/bot1:abc/sendMessage", "https://api.telegram.org/bot***"]],
    leaves: ["https://api.slack.com/services/ is a page"],
    worst: "hooks.slack.com/services ",
  },
  {
    name: "encoded query parameter",
    keywords: ["%3d"],
    pattern: /%(?:3F|26)(?<name>[\w.-]{2,64})%3D(?<value>(?:(?!%26)[^\s"'`&]){1,1024})/gi,
    check: (_value, { name }) => isNameOfSecret(name),
    hides: [["/login?next=%2Fx%3Ftoken%3Dhunter2%26a%3D1", "/login?next=%2Fx%3Ftoken%3D***%26a%3D1"]],
    leaves: ["/login?next=%2Fx%3Fpage%3D2"],
    worst: "%3Ftoken%3",
  },
  {
    name: "assignment",
    keywords: HINTS,
    pattern: /(?<=(?<name>[\w.-]{1,64})(?<quote>(?:\\?["'`])?)(?<gap>\s{0,16}))(?<sign>:=|=>|[:=])\s{0,16}/g,
    extent: assigned,
    check: (value, found) => !isObjectName(value, found),
    hides: [
      ["app --password=hunter2 --port=80", "app --password=*** --port=80"],
      ["app --password = hunter", "app --password = ***"],
      ['{"user":"me","password":"hunter2"}', '{"user":"me","password":"***"}'],
      ["map[password:hunter2 user:me]", "map[password:*** user:me]"],
      ["//npm.example.com/:_authToken=hunter", "//npm.example.com/:_authToken=***"],
      ["DbPassWord=hunter", "DbPassWord=***"],
      ["tool.exe /password:hunter", "tool.exe /password:***"],
    ],
    leaves: [
      'volume "vault-token" : rpc error, secret "db-token": permission denied',
      "pass=34 fail=2, sig=SIGTERM",
      "deleted (secret=db-credentials ns=shop), deleted (user=bob secret=db-credentials)",
      "Ensure token: a b",
      "registry.example.com/team/token:1.2",
    ],
    worst: "password = ",
  },
  {
    name: "flag",
    keywords: HINTS,
    pattern: /(?<![^\s"'`])--?(?<name>[\w.-]{2,64})\s{1,16}/g,
    extent: ({ name }) => isNameOfSecret(name) ? "word" : false,
    // OpenSSL reads a password from where `file:`, `env:` and `fd:` say.
    check: (value) => isFlagValue(value) && !/^(?:file|env|fd):/.test(value),
    hides: [["app --password hunter2 --port 80", "app --password *** --port 80"]],
    leaves: [
      "Ensure that the --token argument is not set, nor --password",
      "openssl rsa -pass file:/run/pw -in k",
    ],
    worst: "--password ",
  },
  {
    name: "setting",
    keywords: ["_"],
    pattern: /(?<![\w.-])(?<name>[a-z]{1,32}_[\w]{1,64})\s{1,16}(?<value>[^\s"'`]{12,512})/gi,
    check: (value, { name }) => isNameOfSecret(name) && looksRandom(value),
    hides: [[
      "aws configure set aws_secret_access_key wJalrXUtnFEMI7MDENG",
      "aws configure set aws_secret_access_key ***",
    ]],
    leaves: ["aws configure set aws_session_duration 1234567890123"],
    worst: "a_token ",
  },
  {
    name: "piped password",
    keywords: ["echo", "printf"],
    pattern:
      /(?<![\w-])(?:echo|printf)\s{1,4}(?:-\w{1,4}\s{1,4})?["']?(?:[\w.-]{1,64}:)?(?<value>[^\s"'`|:]{1,256})(?=["']?\s{0,8}\|\s{0,8}(?:sudo\s{1,4})?(?:chpasswd|passwd\s|sudo -S|su\s|kinit(?:\s|$)|cryptsetup\s|[\w.-]{1,32}(?:\s[\w.@:/-]{1,64}){0,6}?\s--(?:password|passphrase)-(?:stdin|fd)))/g,
    hides: [["echo me:hunter2 | chpasswd", "echo me:*** | chpasswd"]],
    leaves: ["echo me:hunter2 | grep me"],
    worst: "echo a|a a a a a ",
  },
  {
    name: "password in a here string",
    keywords: ["<<<"],
    pattern: /<<<\s{0,4}["']?(?:[\w.-]{1,64}:)?(?<value>[^\s"'`:]{1,256})/g,
    check: (_value, { text, start }) => READS_PASSWORD.test(text.slice(Math.max(0, start - 128), start)),
    hides: [["kinit --password-file=STDIN me <<< hunter2", "kinit --password-file=STDIN me <<< ***"]],
    leaves: ["grep me <<< hunter2"],
    worst: "<<<a:",
  },
  {
    name: "configured secret",
    keywords: ["config"],
    pattern:
      /(?<![\w-])config(?:ure)?(?:\s{1,4}(?:set|add|--?[\w-]{1,32})){0,4}\s{1,4}(?<name>[^\s"'`=]{2,128})\s{1,4}["']?(?<value>[^\s"'`]{1,512})/g,
    check: (value, { name, match }) =>
      isNameOfSecret(name) && (/(?:^|:)_/.test(name) || looksLikePassword(value)) &&
      (/^\w+\s+(?:set|add|-)/.test(match[0]) || /[.:]/.test(name)),
    hides: [
      [
        "npm config set //npm.example.com/:_authToken hunter",
        "npm config set //npm.example.com/:_authToken ***",
      ],
      ["git config --global github.token a1b2c3", "git config --global github.token ***"],
    ],
    leaves: [
      "npm config set registry https://npm.example.com",
      "the config set token expiry",
      "kubelet config auth x509 on",
    ],
    worst: "config set --a ",
  },
  {
    name: "password of a network drive",
    keywords: ["\\\\"],
    pattern:
      /(?<![\w-])net(?:\.exe)?\s{1,4}use\s{1,4}(?:(?:\w:|\*)\s{1,4})?\\{2,4}[^\s]{1,128}(?:\s{1,4}\/[^\s]{1,64}){0,4}\s{1,4}["']?(?<value>[^\s/"'`][^\s"'`]{0,256})/gi,
    hides: [["net use x: \\\\host\\share /user:me hunter", "net use x: \\\\host\\share /user:me ***"]],
    leaves: ["net use x: \\\\host\\share /persistent:yes", "the net use of \\\\host grows"],
    worst: "net use x: \\\\a /a ",
  },
  {
    name: "password of an Impacket target",
    keywords: ["impacket-", ".py"],
    pattern:
      /(?<![\w-])(?:impacket-\w{2,32}|\w{2,32}\.py)\s{1,4}(?:[^\s]{1,64}\s{1,4}){0,6}?["']?(?:[\w.-]{0,64}\/)?[\w.$-]{1,64}:(?<value>[^\s"'`]{1,256})(?=@(?!sha\d)[\w.-])/g,
    hides: [
      ["secretsdump.py -just-dc corp/me:hunter2@10.0.0.1", "secretsdump.py -just-dc corp/me:***@10.0.0.1"],
      ["impacket-wmiexec me:hunter@host whoami", "impacket-wmiexec me:***@host whoami"],
    ],
    leaves: ["deploy.py team/app:1.2@sha256:0123456789abcdef"],
    worst: "a.py a a a a a a a",
  },
];
