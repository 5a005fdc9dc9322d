/**
 * What belongs to a test file, on a host where other containers and other test runs come and go.
 *
 * A file has a network, mount, pid and ipc namespace, /run, /var/lib/cni and a TMPDIR to itself
 * (isolate.ts, enter.sh): what changes there is its own. What it shares with the host (cgroups, /tmp,
 * the process table) is its own when it bears the file's mark: `testMark` at the beginning of a
 * name, or DAVIT_TEST_RUN in a process's environment.
 *
 * DAVIT_TEST_STRICT_HOST=1 drops the rule: everything that changed counts. That finds what a test
 * left without a mark, and needs a host that nobody else uses.
 */
import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import type { Difference } from "./snapshot/shape.ts";

/**
 * The names of this file's cgroups and of its entries in /tmp begin so; no other file's do. The runner
 * gives it; a file that is run without the runner gets one here.
 */
export const testMark = process.env["DAVIT_TEST_CGROUP"] ?? newMark();

/** A mark for one file. */
export function newMark(): string {
  return `davit-${randomUUID().slice(0, 8)}`;
}

/** True where every change of the host counts. */
export function isStrictHost(): boolean {
  return process.env["DAVIT_TEST_STRICT_HOST"] === "1";
}

/** True for a cgroup with the mark in one of its names; on a strict host, for any of davit's name. */
export function ownsCgroup(cgroup: string, mark = testMark, strict = isStrictHost()): boolean {
  const start = strict ? "davit" : mark;
  return cgroup.split("/").some((part) => part.startsWith(start));
}

/** True for an entry of /tmp with the mark; on a strict host, for any but what runners use. */
export function ownsTemporary(name: string, mark = testMark, strict = isStrictHost()): boolean {
  if (!strict) return name.startsWith(`/tmp/${mark}`);
  return !/^\/tmp\/davit-(test|unit|ok)[.-]/.test(name);
}

/**
 * Judges inside the file's namespaces. A mount namespace begins as a copy of the host's, and a mount
 * of it goes away when somebody on the host removes the directory that it lies on: then nobody here
 * has unmounted anything.
 */
export function belongsToFile({ kind, name, count }: Difference): boolean {
  if (count > 0 || (kind !== "mount" && kind !== "namespace")) return true;
  const place = name.slice(0, name.indexOf(" ("));
  return place.startsWith(`${tmpdir()}/`) || bears(place, testMark) || existsSync(place);
}

/**
 * Judges outside, on the host: what lies in the file's TMPDIR or bears its mark. Processes were chosen
 * by their own mark.
 */
export function belongsOnHost(mark: string, temporary: string): (each: Difference) => boolean {
  return ({ kind, name }) =>
    kind === "process" || bears(name, mark) || name.includes(`${temporary}/`);
}

/** True where a word of the name, or a part of its path, begins with the mark. */
function bears(name: string, mark: string): boolean {
  return name.split(/[/ ]/).some((part) => part.startsWith(mark));
}
