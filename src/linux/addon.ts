import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

import { RuntimeError } from "../base/errors.ts";
import { errnoName, SystemError } from "../base/system-error.ts";

// The C addon in `native/`. Only the `native.ts` of each directory below calls it: a function there has named
// parameters and alone knows the order in which C takes them. Its doc comment says on which thread it runs:
//
//   main  on the calling thread; returns at once
//   pool  on a thread of libuv's pool (UV_THREADPOOL_SIZE), for calls that can wait in the kernel
//   own   on a thread that is created for the call because it changes its namespaces; a pool thread waits for it
//
// The addon needs Linux 5.12 (mount_setattr; close_range 5.9, pidfds 5.4). Watches work only on the main thread
// of the process: in a worker thread the addon refuses them.

/** A file descriptor that the addon watches on the event loop. */
export interface NativeWatch {
  readonly __watch: never;
}

interface WatchCalls {
  watchClose(watch: NativeWatch): void;
}

type Job = (
  strings: readonly (string | null)[],
  numbers: readonly number[],
  bytes?: Uint8Array,
) => Promise<unknown> | undefined;

let loaded: unknown;

/** The addon. It is loaded at its first use, so that commands without kernel work do not need it. */
export function addon(): unknown {
  loaded ??= load();
  return loaded;
}

/** main, idempotent. Never close the watch of a child that still runs: the child would not be reaped. */
export function closeWatch(watch: NativeWatch): void {
  (addon() as WatchCalls).watchClose(watch);
}

/** The result of a call on the calling thread. Its failure becomes a SystemError that starts with `doing`. */
export function callNative<Result>(call: () => Result, doing?: string): Result {
  try {
    return call();
  } catch (cause) {
    throw nativeError(cause, doing);
  }
}

/** Runs a job of the addon on another thread. Rejects with SystemError. */
export async function runJob(
  name: string,
  strings: readonly (string | null)[],
  numbers: readonly number[] = [],
): Promise<void> {
  await jobResult(name, strings, numbers);
}

/** Runs a job whose result is numbers. Rejects with SystemError. */
export async function runNumbersJob(
  name: string,
  strings: readonly (string | null)[],
  numbers: readonly number[] = [],
): Promise<readonly number[]> {
  return (await jobResult(name, strings, numbers)) as readonly number[];
}

/** Runs a job whose result is texts. Rejects with SystemError. */
export async function runTextsJob(
  name: string,
  strings: readonly (string | null)[],
  numbers: readonly number[] = [],
): Promise<readonly (string | null)[]> {
  return (await jobResult(name, strings, numbers)) as readonly (string | null)[];
}

/** Runs a job that gets bytes and whose result is bytes; undefined for none. Rejects with SystemError. */
export async function runBytesJob(
  name: string,
  strings: readonly (string | null)[],
  numbers: readonly number[],
  bytes: Uint8Array,
): Promise<Buffer | undefined> {
  return (await jobResult(name, strings, numbers, bytes)) as Buffer | undefined;
}

async function jobResult(
  name: string,
  strings: readonly (string | null)[],
  numbers: readonly number[],
  bytes?: Uint8Array,
): Promise<unknown> {
  const job = (addon() as Readonly<Record<string, Job | undefined>>)[name];
  if (job === undefined) {
    throw new RuntimeError(
      "internal",
      `call "${name}": the native addon does not have it; build it again: sh scripts/build-native.sh`,
    );
  }
  try {
    return await job(strings, numbers, bytes);
  } catch (cause) {
    throw nativeError(cause);
  }
}

/**
 * Turns what a native call threw (`{errno, call, path, step}`) into a SystemError that names call, object and errno.
 */
export function nativeError(cause: unknown, doing?: string): RuntimeError {
  if (cause instanceof RuntimeError) return cause;
  if (!(cause instanceof Error) || !("errno" in cause) || typeof cause.errno !== "number") {
    const text = cause instanceof Error ? cause.message : String(cause);
    return new RuntimeError("internal", `${doing ?? "call the native addon"}: ${text}`, { cause });
  }
  const path = "path" in cause && typeof cause.path === "string" ? cause.path : "";
  const call = path === "" ? cause.message : `${cause.message} "${path}"`;
  // A program that confines itself does not start on a kernel without seccomp filters.
  const next = cause.message === "seccomp" ? " (run davit doctor --only kernel)" : "";
  const prefix = doing === undefined ? `${call}${next}` : `${doing}: ${call}${next}`;
  return new SystemError(prefix, errnoName(cause.errno), { cause });
}

/**
 * The path of a native file. From source it is in dist/; the bundle dist/davit.cjs has it in its own directory, and
 * in a package for several architectures in a directory below it with the name of this one: x64 or arm64.
 */
export function builtFile(name: string): string {
  const fromSource = import.meta.url.endsWith("/src/linux/addon.ts");
  const fileAt = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
  const built = fileAt(fromSource ? `../../dist/${name}` : `./${name}`);
  if (fromSource || existsSync(built)) return built;
  const packaged = fileAt(`./${process.arch}/${name}`);
  return existsSync(packaged) ? packaged : built;
}

function load(): unknown {
  const path = builtFile("davit.node");
  try {
    return createRequire(import.meta.url)(path);
  } catch (cause) {
    const todo = existsSync(path)
      ? ""
      : `; it is not built for ${process.arch}: run sh scripts/build-native.sh`;
    const text = cause instanceof Error ? cause.message : String(cause);
    throw new RuntimeError("failed-precondition", `load native addon "${path}": ${text}${todo}`, {
      cause,
    });
  }
}
