/** The platforms that the program is compiled for, in the words of containers: `linux/arm64`. */

/** A platform: its name's parts, and Deno's word for it. */
export interface Platform {
  readonly os: "linux" | "darwin" | "windows";
  readonly arch: "amd64" | "arm64";
  readonly target: string;
}

/** Deno compiles for no other. Windows on Arm runs the program for amd64. */
export const PLATFORMS: readonly Platform[] = [
  { os: "linux", arch: "amd64", target: "x86_64-unknown-linux-gnu" },
  { os: "linux", arch: "arm64", target: "aarch64-unknown-linux-gnu" },
  { os: "darwin", arch: "amd64", target: "x86_64-apple-darwin" },
  { os: "darwin", arch: "arm64", target: "aarch64-apple-darwin" },
  { os: "windows", arch: "amd64", target: "x86_64-pc-windows-msvc" },
];

/** The platform of a name such as `linux/arm64`; without one, this machine's. */
export function platformOf(name?: string): Platform {
  const found = PLATFORMS.find((platform) =>
    name === undefined ? platform.target === Deno.build.target : nameOf(platform) === name
  );
  if (found) return found;
  const known = PLATFORMS.map(nameOf).join(", ");
  throw new Error(
    `Cannot compile for "${name ?? Deno.build.target}": expected ${known}. Name one with --platform`,
  );
}

/** `linux/arm64`. */
export function nameOf({ os, arch }: Platform): string {
  return `${os}/${arch}`;
}

/** Whether this machine runs the platform's programs. */
export function isThisMachine({ target }: Platform): boolean {
  return target === Deno.build.target;
}
