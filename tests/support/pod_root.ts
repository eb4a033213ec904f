/**
 * A root as the image's, for programs that run on it as the Pod's user: the runtime, the libraries it names, the bundle
 * and what the kubelet mounts. It is not writable, and where mounts are permitted it is a read-only mount as well.
 */
import { basename, dirname, join } from "node:path";

/** `USER` of the image, `runAsUser` of the chart. */
export const POD_USER = 65_532;
const RUNTIME = "/app/deno";
export const ENTRY = "/app/dist/main.js";
/** What a container runtime sets for the image's user. */
export const POD_ENV = { HOME: "/home/nonroot" };

/**
 * What distroless/cc of Debian 12 holds: libc6 (2.36), libgcc-s1, libstdc++6, libgomp1. The loader's name is that of the
 * architecture.
 */
const IMAGE_LIBRARIES =
  /^(ld-linux(-x86-64|-aarch64)\.so\.[12]|lib(c|dl|m|mvec|pthread|rt|util|anl|resolv|nss_(files|dns))\.so\.\d|libgcc_s\.so\.1|libstdc\+\+\.so\.6|libgomp\.so\.1)$/;
const IMAGE_GLIBC_MINOR = 36;

/** As root of a mount namespace: the folder as a read-only mount, its writable parts as mounts of their own, the real /proc. */
const MOUNTED = `
set -e
user=$1; root=$2; writable=$3; shift 3
mount --bind "$root" "$root"
[ -z "$writable" ] || mount --bind "$root$writable" "$root$writable"
mount -o remount,bind,ro "$root"
mount --rbind /proc "$root/proc"
exec setpriv --no-new-privs "$(command -v chroot)" --userspec="$user" "$root" "$@"
`;
/** Where mounting is not permitted, as in many containers: what the runtime looks up in /proc is a link, and the modes alone refuse. */
const UNMOUNTED = `
user=$1; root=$2; shift 3
exec setpriv --no-new-privs "$(command -v chroot)" --userspec="$user" "$root" "$@"
`;

export interface PodRootOptions {
  /** Folder of the bundle; absent where the program holds it. */
  readonly bundle?: string;
  /** What is at `RUNTIME`: by default the runtime of this process. */
  readonly program?: string;
  /** Contents by path: what is mounted into the Pod. */
  readonly files: Readonly<Record<string, string>>;
  /** A folder that is given to the Pod's user after all. */
  readonly writable?: string;
  /** `UID:GID`; default: those of the image. */
  readonly user?: string;
}

export class PodRoot implements AsyncDisposable {
  readonly folder: string;
  readonly #mounts: boolean;
  readonly #writable: string;
  readonly #user: string;

  private constructor(
    folder: string,
    { mounts, writable, user }: { mounts: boolean; writable: string; user: string },
  ) {
    this.folder = folder;
    this.#user = user;
    this.#mounts = mounts;
    this.#writable = writable;
  }

  static async create(options: PodRootOptions): Promise<PodRoot> {
    const { writable = "", user = `${POD_USER}:${POD_USER}` } = options;
    if (Deno.uid() !== 0) {
      throw new Error(
        `Cannot be user ${POD_USER} on a root of its own as user ${Deno.uid()}: run this test as root, in a container for instance`,
      );
    }
    const mounts = (await output("unshare", ["--mount", "true"])).success;
    const root = new PodRoot(await Deno.makeTempDir({ prefix: "zen-root-" }), { mounts, writable, user });
    try {
      await root.#fill(options);
      const { success, text } = await root.run(["--version"]);
      if (success) return root;
      throw new Error(
        `Cannot be user ${POD_USER} on a root of its own: ${text.trim()}\n` +
          "This test needs CAP_SYS_CHROOT, CAP_SETUID and CAP_SETGID: run it as root, in a container without cap-drop",
      );
    } catch (error) {
      await root[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The words before the runtime's own arguments. */
  get command(): readonly [string, ...string[]] {
    const script = this.#mounts ? MOUNTED : UNMOUNTED;
    return [
      ...(this.#mounts ? ["unshare", "--mount"] as const : ["env"] as const),
      ...["sh", "-c", script, "sh", this.#user, this.folder, this.#writable, RUNTIME],
    ];
  }

  /** Runs the runtime to its end, with nothing in its environment. */
  async run(args: readonly string[], stdin = ""): Promise<{ success: boolean; text: string }> {
    const [program, ...words] = this.command;
    return await output(program, [...words, ...args], stdin);
  }

  /** Everything there, with what a write would change. */
  async entries(): Promise<string[]> {
    const { text } = await output("find", [this.folder, "-printf", "%P %M %U:%G %s %T@ %C@\n"]);
    return text.split("\n").filter((line) => line !== "").sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await output("chmod", ["-R", "u+w", this.folder]);
    await Deno.remove(this.folder, { recursive: true });
  }

  async #fill({ bundle, program = Deno.execPath(), files }: PodRootOptions): Promise<void> {
    await this.#copy(program, RUNTIME);
    for (const library of await librariesOf(program)) await this.#copy(library, library);
    if (bundle !== undefined) {
      for await (const { name } of Deno.readDir(bundle)) {
        await this.#copy(join(bundle, name), join(dirname(ENTRY), name));
      }
    }
    // The image's own: an empty file for the roots it does not trust, a home with nothing in it, a link on the token's way.
    for (const folder of ["/dev", "/home/nonroot", "/run", "/var"]) {
      await Deno.mkdir(this.folder + folder, { recursive: true });
    }
    await Deno.writeTextFile(`${this.folder}/dev/null`, "");
    await Deno.symlink("../run", `${this.folder}/var/run`);
    for (const [path, text] of Object.entries(files)) await this.#mount(path, text);
    await Deno.mkdir(`${this.folder}/proc/self`, { recursive: true });
    await Deno.symlink(RUNTIME, `${this.folder}/proc/self/exe`);
    await output("chmod", ["-R", "a-w,a+rX", this.folder]);
    if (this.#writable !== "") {
      await Deno.mkdir(this.folder + this.#writable);
      await Deno.chown(this.folder + this.#writable, POD_USER, POD_USER);
    }
  }

  /** As the kubelet does: a link to a file in a folder that is replaced as a whole. */
  async #mount(path: string, text: string): Promise<void> {
    const folder = dirname(this.folder + path);
    await Deno.mkdir(join(folder, "..first"), { recursive: true });
    await Deno.symlink("..first", join(folder, "..data")).catch((error) => {
      if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    });
    await Deno.writeTextFile(join(folder, "..first", basename(path)), text);
    await Deno.symlink(join("..data", basename(path)), join(folder, basename(path)));
  }

  async #copy(from: string, to: string): Promise<void> {
    await Deno.mkdir(dirname(this.folder + to), { recursive: true });
    await Deno.copyFile(from, this.folder + to);
  }
}

/** Paths of the libraries a program is linked with. Throws where the image has one of them not, or too old a one. */
export async function librariesOf(program: string): Promise<string[]> {
  const { text } = await output("ldd", [program]);
  const paths = [...text.matchAll(/(\/\S+) \(0x/g)].map(([, path = ""]) => path);
  const missing = paths.filter((path) => !IMAGE_LIBRARIES.test(basename(path)));
  if (missing.length > 0 || paths.length === 0 || text.includes("not found")) {
    throw new Error(`Cannot run "${program}" in the image: it needs ${missing.join(", ") || text}`);
  }
  const symbols = await output("grep", ["-aoE", "GLIBC_2\\.[0-9]+", program]);
  const newest = Math.max(...[...symbols.text.matchAll(/GLIBC_2\.(\d+)/g)].map(([, minor]) => Number(minor)));
  if (!(newest <= IMAGE_GLIBC_MINOR)) {
    throw new Error(
      `Cannot run "${program}" in the image: it needs glibc 2.${newest}, not 2.${IMAGE_GLIBC_MINOR}`,
    );
  }
  return paths;
}

async function output(
  program: string,
  args: readonly string[],
  stdin = "",
): Promise<{ success: boolean; text: string }> {
  const child = new Deno.Command(program, {
    args: [...args],
    clearEnv: true,
    env: POD_ENV,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  // A program that ends without reading it closes the pipe.
  await writer.write(new TextEncoder().encode(stdin)).then(() => writer.close()).catch(() => {});
  const { success, stdout, stderr } = await child.output();
  const decoder = new TextDecoder();
  return { success, text: decoder.decode(stdout) + decoder.decode(stderr) };
}
