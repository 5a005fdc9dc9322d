import { closeSync, readlinkSync, statSync } from "node:fs";

import { holderPath, native, waiterPath } from "../native.ts";

interface Copy {
  /** What the file was like when it was copied. */
  readonly version: string;
  readonly fd: number;
}

// Larger ones are for other machines' memory to hold: each stays there for as long as we live.
const limitBytes = 4 * 1024 * 1024;
// Who was just told of the old copy's path has long started it by then.
const oldCopyMs = 60_000;

/** Descriptors are the process's, so this is, too. */
const copies = new Map<string, Copy | undefined>();

/**
 * Where to start a program that protects itself from the containers that it makes: a sealed copy of it
 * in memory, which nothing can write to, kept for as long as the file stays as it is.
 *
 * crun and runc copy themselves into a sealed memfd and start again from there, at each call, since a
 * container could get hold of the program by /proc/PID/exe and overwrite it (CVE-2019-5736). They
 * skip that when they find themselves in one with the seals WRITE, GROW, SHRINK and SEAL already
 * (cloned_binary.c of both): half of the time of a small verb. A new file is copied again.
 *
 * Returns `path` itself for what is no ELF program (a script needs its own name) or larger than 4 MiB,
 * and wherever a copy cannot be made. Never fails: a file that is not there is the caller's to start.
 */
export function sealedProgram(path: string): string {
  const version = versionOf(path);
  if (version === undefined) return path;
  const known = copies.get(path);
  if (known?.version === version) return pathOf(known.fd);
  const fd = copyOf(path);
  if (known !== undefined) setTimeout(() => closeSync(known.fd), oldCopyMs).unref();
  copies.set(path, fd === undefined ? undefined : { version, fd });
  return fd === undefined ? path : pathOf(fd);
}

/**
 * Where to start the program that is PID 1 in a pod-wide PID namespace, see {@link holderPath}. A sealed copy:
 * a container that may trace processes can open /proc/1/exe, and could overwrite the file on the node as
 * soon as no process runs it any more.
 */
export function holderProgram(): string {
  return sealedProgram(holderPath());
}

/** Where to start the program that waits for a command in a container, see {@link waiterPath}. A sealed copy. */
export function waiterProgram(): string {
  return sealedProgram(waiterPath());
}

function pathOf(fd: number): string {
  return `/proc/${process.pid}/fd/${fd}`;
}

function versionOf(path: string): string | undefined {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true });
    return [dev, ino, size, mtimeNs, ctimeNs].join();
  } catch {
    return undefined;
  }
}

function copyOf(path: string): number | undefined {
  let fd: number;
  try {
    fd = native().sealedCopy(path, limitBytes);
  } catch {
    return undefined; // no memory, or a kernel that lets no memfd be executed
  }
  if (fd < 0) return undefined;
  try {
    // Under a /proc of another PID namespace the path would be somebody else's.
    if (readlinkSync(pathOf(fd)).startsWith("/memfd:")) return fd;
  } catch {
    // no /proc at all
  }
  closeSync(fd);
  return undefined;
}
