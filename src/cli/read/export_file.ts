/** Files of exports in a folder, one a day: the history that outlives the Observations. */
import { CommandError } from "../io.ts";
import { errorMessage } from "../../model/error_message.ts";

/** Where the image's program may write: nothing is there until a volume is mounted. */
export const EXPORT_FOLDER = "/var/lib/zen-watcher";

export interface ExportFileOptions {
  /** RFC 3339; its day names the file. */
  readonly at: string;
  /** The format, which ends the name. */
  readonly format: string;
  /** Files of this format that stay, the newest by name; undefined: all. */
  readonly keep: number | undefined;
}

/** A file that appears under its name when it is complete. One of the same day is replaced. */
export interface ExportFile extends Disposable {
  readonly path: string;
  print(text: string): void;
  /** Gives the file its name, and deletes what is more than `keep`. */
  complete(): Promise<void>;
}

/** Opens `folder`/observations-DAY.FORMAT. Throws where the folder is missing or cannot be written. */
export function openExportFile(folder: string, { at, format, keep }: ExportFileOptions): ExportFile {
  const name = `observations-${at.slice(0, 10)}.${format}`;
  const path = `${folder.replace(/\/+$/, "")}/${name}`;
  const partial = `${path}.partial`;
  const file = attempt(
    path,
    () => Deno.openSync(partial, { write: true, create: true, truncate: true, mode: 0o640 }),
  );
  return {
    path,
    print(text) {
      let bytes = new TextEncoder().encode(text);
      attempt(path, () => {
        while (bytes.length > 0) bytes = bytes.subarray(file.writeSync(bytes));
      });
    },
    async complete() {
      try {
        await file.sync();
        await Deno.rename(partial, path);
        if (keep !== undefined) await deleteOldest(folder, { format, keep });
      } catch (error) {
        throw failed(path, error);
      }
    },
    [Symbol.dispose]: () => file.close(),
  };
}

async function deleteOldest(
  folder: string,
  { format, keep }: { readonly format: string; readonly keep: number },
): Promise<void> {
  const names: string[] = [];
  for await (const { name, isFile } of Deno.readDir(folder)) {
    if (isFile && new RegExp(`^observations-\\d{4}-\\d{2}-\\d{2}\\.${format}$`).test(name)) names.push(name);
  }
  for (const name of names.sort().slice(0, -keep)) await Deno.remove(`${folder}/${name}`);
}

function attempt<T>(path: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw failed(path, error);
  }
}

function failed(path: string, error: unknown): CommandError {
  return new CommandError(
    `Cannot write "${path}": ${
      errorMessage(error)
    }. The image's program writes to a volume at ${EXPORT_FOLDER} alone`,
  );
}
