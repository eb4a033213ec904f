/** Tools that take a password by a short flag of their own, and where in a command line their names stand. */
import { isAlphanumericCode, isNameCode, isQuote } from "./mask_values.ts";

/**
 * Where a flag's password is: attached to it, the next word, after the colon of the next word's `user:password`, or
 * the next word where that is a cookie and no file.
 */
export type PasswordPlace = "attached" | "next" | "user" | "cookie";

const MYSQL = { "-p": "attached" } as const;
const MONGO = { "-p": "next" } as const;
const LDAP = { "-w": "next" } as const;
const LOGIN = { "-p": "next" } as const;

const FLAGS = new Map<string, Readonly<Record<string, PasswordPlace>>>(Object.entries({
  mysql: MYSQL,
  mysqldump: MYSQL,
  mysqladmin: MYSQL,
  mysqlimport: MYSQL,
  mysqlcheck: MYSQL,
  mysqlsh: MYSQL,
  mariadb: MYSQL,
  "mariadb-dump": MYSQL,
  "mariadb-admin": MYSQL,
  sshpass: { "-p": "attached" },
  mongo: MONGO,
  mongosh: MONGO,
  mongodump: MONGO,
  mongorestore: MONGO,
  mongoimport: MONGO,
  mongoexport: MONGO,
  cqlsh: { "-p": "next" },
  sqlcmd: { "-P": "attached" },
  "redis-cli": { "-a": "attached" },
  ldapsearch: LDAP,
  ldapmodify: LDAP,
  ldapadd: LDAP,
  ldapwhoami: LDAP,
  openssl: { "-k": "next" },
  zip: { "-P": "next" },
  unzip: { "-P": "next" },
  "7z": { "-p": "attached" },
  useradd: { "-p": "next" },
  usermod: { "-p": "next" },
  docker: {},
  "docker login": LOGIN,
  podman: {},
  "podman login": LOGIN,
  nerdctl: {},
  "nerdctl login": LOGIN,
  buildah: {},
  "buildah login": LOGIN,
  helm: {},
  "helm login": LOGIN,
  oc: {},
  "oc login": LOGIN,
  az: {},
  "az login": LOGIN,
  argocd: {},
  "argocd login": LOGIN,
  curl: { "-u": "user", "--user": "user", "-U": "user", "--proxy-user": "user", "-b": "cookie" },
  http: { "-a": "user" },
  https: { "-a": "user" },
  skopeo: { "--creds": "user", "--src-creds": "user", "--dest-creds": "user" },
  "skopeo login": LOGIN,
}));

/** How the tools' names end: most words end otherwise, and are not looked at closer. */
const NAME_ENDS = new Set(
  [...FLAGS.keys()].map((command) => command.slice(-2)).map((end) => pairAt(end, end.length)),
);

function pairAt(text: string, end: number): number {
  return (text.charCodeAt(end - 2) << 8) | text.charCodeAt(end - 1);
}

const LONGEST_COMMAND = Math.max(...[...FLAGS.keys()].map((command) => command.length));

/** Keys under which tools show a command line: Falco's `command=`, `cmdline=`, `pcmdline=`, `proc_cmdline=`. */
const COMMAND_KEYS = ["command", "cmdline", "cmd"];

function hasPasswordFlag(command: string): boolean {
  return command.length <= LONGEST_COMMAND && FLAGS.has(command);
}

/** Where the password is that `flag` of `command` gives, if it is such a flag. */
export function passwordFlag(command: string, flag: string): PasswordPlace | undefined {
  const flags = FLAGS.get(command);
  const exact = flags?.[flag];
  if (exact === "attached") return "next"; // the flag alone: people put a space there too
  if (exact !== undefined) return exact;
  if (flags?.[flag.slice(0, 2)] === "attached") return "attached";
  return command !== "openssl" && isCluster(flag) ? lastOf(flags, flag) : undefined;
}

/** `-sku` ends with `-u`: the value of the last letter follows. */
function lastOf(flags: Readonly<Record<string, PasswordPlace>> | undefined, flag: string) {
  const last = flags?.[`-${flag.at(-1)}`];
  return last === "attached" ? undefined : last;
}

/** Single letters in one word: `-sku`, not `--user` and not `-ujoe:x`. OpenSSL has words there: `-check`. */
function isCluster(flag: string): boolean {
  if (flag.length < 3 || flag.length > 6 || flag[0] !== "-") return false;
  for (let index = 1; index < flag.length; index++) {
    const code = flag.charCodeAt(index);
    if (!isAlphanumericCode(code) || (code >= 48 && code <= 57)) return false;
  }
  return true;
}

/**
 * The command in force after this word: a known tool's, or none after a separator. Its name ends the word, behind a
 * path, a quote, a bracket, another command's `;`, or the key it is shown under (`command=mysql`).
 */
export function commandOf(current: string, word: string): string {
  let end = word.length;
  while (end > 0 && (isQuote(word[end - 1]) || word[end - 1] === ")")) end--;
  if (current === "" && !NAME_ENDS.has(pairAt(word, end))) return "";
  if (";|&".includes(word[end - 1] ?? " ")) return "";
  let start = end;
  while (start > 0 && isNameCode(word.charCodeAt(start - 1))) start--;
  const name = word.slice(start, end);
  if (name === "login" && FLAGS.has(`${current} login`)) return `${current} login`;
  while (start > 0 && (word[start - 1] === "/" || isNameCode(word.charCodeAt(start - 1)))) start--;
  while (start > 0 && isQuote(word[start - 1])) start--;
  const found = hasPasswordFlag(name) ? name : "";
  if (word[start - 1] !== "=") return found || current;
  // Any other variable's value is no command: `container=mysql`.
  return isCommandKey(word, start - 1) ? found : current;
}

function isCommandKey(word: string, end: number): boolean {
  return COMMAND_KEYS.some((key) => word.endsWith(key, end));
}
