import { type TmpfsOptions, tmpfsText } from "../mount/mounts.ts";
import { type NativeFileStep, runSteps } from "./native.ts";

/** The owner of a file, as ids of the node. */
export interface FileOwner {
  readonly uid: number;
  readonly gid: number;
}

interface MadeFile {
  readonly path: string;
  /** The permission bits that the file then has, whatever the umask is and even if it existed before. */
  readonly mode: number;
  /** If not given, a new file belongs to this process, and an existing one keeps its owner. */
  readonly owner?: FileOwner | undefined;
}

/** Something to make. The last name of a file's path may not be a symbolic link (ELOOP). */
export type FileStep =
  /** EEXIST unless `mayExist`; with it, parents are made, too, with the same mode less the umask. */
  | (MadeFile & { readonly step: "make-directory"; readonly mayExist?: boolean })
  /** With mode and owner of another directory; `shift` is added to the ids. */
  | {
      readonly step: "make-directory-like";
      readonly path: string;
      readonly model: string;
      readonly shift?: FileOwner;
    }
  /** Replaces the content. */
  | (MadeFile & { readonly step: "write-file"; readonly text: string })
  /** Appends the whole text or nothing. If that fails, a file that was empty is removed. */
  | (MadeFile & { readonly step: "append-to-file"; readonly text: string })
  /** For small files. The copy is empty if `from` does not exist. */
  | (MadeFile & { readonly step: "copy-file"; readonly from: string })
  /** On an existing directory, like mountTmpfs(); its source is `tmpfs`. */
  | { readonly step: "mount-tmpfs"; readonly path: string; readonly options: TmpfsOptions }
  /** A symbolic link; `target` is its text. EEXIST when something is at the path. */
  | { readonly step: "make-link"; readonly path: string; readonly target: string };

/**
 * Runs the steps in order, in one job on a thread of the pool: 10 us each, while node:fs takes three jobs for a
 * file. Rejects with the first failure, a SystemError that names call and path, and stops there. Earlier steps
 * are not undone; only a directory whose own step fails is removed.
 */
export async function runFileSteps(steps: readonly FileStep[]): Promise<void> {
  await runSteps(steps.map(nativeStep));
}

/** How many steps had succeeded when runFileSteps() failed with this error. */
export function stepsDone(error: unknown): number {
  const cause = error instanceof Error ? error.cause : undefined;
  if (!(cause instanceof Error) || !("step" in cause)) return 0;
  return typeof cause.step === "number" ? cause.step : 0;
}

function nativeStep(step: FileStep): NativeFileStep {
  const { path } = step;
  switch (step.step) {
    case "make-directory": {
      const { mode, owner, mayExist = false } = step;
      return { kind: "make-directory", path, mode, ...owner, mayExist };
    }
    case "make-directory-like": {
      const { model, shift = { uid: 0, gid: 0 } } = step;
      return { kind: "make-directory", path, text: model, ...shift };
    }
    case "write-file":
    case "append-to-file":
      return { kind: step.step, path, text: step.text, mode: step.mode, ...step.owner };
    case "copy-file":
      return { kind: "copy-file", path, text: step.from, mode: step.mode, ...step.owner };
    case "mount-tmpfs":
      return { kind: "mount-tmpfs", path, text: tmpfsText(path, step.options) };
    case "make-link":
      return { kind: "make-link", path, text: step.target };
  }
}
