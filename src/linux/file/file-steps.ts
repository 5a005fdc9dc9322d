import { type TmpfsOptions, tmpfsText } from "../mount/mounts.ts";
import { nativeJob } from "../native.ts";

/** Who a file belongs to, as the node's own ids. */
export interface FileOwner {
  readonly uid: number;
  readonly gid: number;
}

interface Made {
  readonly path: string;
  /** The permission bits that it then has, whatever the umask is, and also where it was there before. */
  readonly mode: number;
  /** Left out: whoever this process is, or whoever has had it. */
  readonly owner?: FileOwner | undefined;
}

/** Something to make. The last name of a file's path may not be a symbolic link (ELOOP). */
export type FileStep =
  /** EEXIST unless it may be there; then parents are made, too, with the same mode less the umask. */
  | (Made & { readonly step: "make-directory"; readonly mayExist?: boolean })
  /** With mode and owner of another directory; `shift` is added to the ids. */
  | {
      readonly step: "make-directory-like";
      readonly path: string;
      readonly model: string;
      readonly shift?: FileOwner;
    }
  /** What was in it is replaced. */
  | (Made & { readonly step: "write-file"; readonly text: string })
  /** The text is added whole, or not at all: then a file that had nothing in it goes. */
  | (Made & { readonly step: "append-to-file"; readonly text: string })
  /** For small files. Empty where `from` is not there. */
  | (Made & { readonly step: "copy-file"; readonly from: string })
  /** On an existing directory, as mountTmpfs() does it; its source is `tmpfs`. */
  | { readonly step: "mount-tmpfs"; readonly path: string; readonly options: TmpfsOptions }
  /** A symbolic link; `target` is its text. EEXIST when something is there. */
  | { readonly step: "make-link"; readonly path: string; readonly target: string };

// As in native/file-steps.c.
const codes = { "write-file": 1, "append-to-file": 2, "copy-file": 3 } as const;
const directoryCode = 0;
const tmpfsCode = 4;
const linkCode = 5;

/**
 * Carries out the steps one after the other, in one job on a thread of the pool: 10 us each where
 * node:fs takes three jobs for a file. Rejects with the first failure, a SystemError that names call and
 * path, and goes no further; what was made by then stays, a directory alone goes with its own step.
 */
export async function runFileSteps(steps: readonly FileStep[]): Promise<void> {
  const strings: (string | null)[] = [];
  const numbers: number[] = [];
  for (const step of steps) {
    strings.push(step.path, otherOf(step));
    numbers.push(...numbersOf(step));
  }
  await nativeJob("runFileSteps", strings, numbers);
}

/** How many of the steps had been carried out when runFileSteps() failed with this error. */
export function stepsDone(error: unknown): number {
  const cause = error instanceof Error ? error.cause : undefined;
  if (!(cause instanceof Error) || !("step" in cause)) return 0;
  return typeof cause.step === "number" ? cause.step : 0;
}

function otherOf(step: FileStep): string | null {
  switch (step.step) {
    case "make-directory":
      return null;
    case "make-directory-like":
      return step.model;
    case "copy-file":
      return step.from;
    case "make-link":
      return step.target;
    case "write-file":
    case "append-to-file":
      return step.text;
    case "mount-tmpfs":
      return tmpfsText(step.path, step.options);
  }
}

function numbersOf(step: FileStep): readonly number[] {
  if (step.step === "make-directory-like") {
    const { uid, gid } = step.shift ?? { uid: 0, gid: 0 };
    return [directoryCode, 0, uid, gid, 0];
  }
  if (step.step === "mount-tmpfs") return [tmpfsCode, 0, -1, -1, 0];
  if (step.step === "make-link") return [linkCode, 0, -1, -1, 0];
  const { uid, gid } = step.owner ?? { uid: -1, gid: -1 };
  if (step.step === "make-directory") {
    return [directoryCode, step.mode, uid, gid, step.mayExist === true ? 1 : 0];
  }
  return [codes[step.step], step.mode, uid, gid, 0];
}
