/**
 * What belongs to a test file, on a host where other containers and test runs start and end.
 *
 * A file has a network, mount, pid and ipc namespace, /run, /var/lib/cni and a TMPDIR to itself
 * (isolate.ts, enter.sh): every change there belongs to the file. An object that is shared with the host (cgroup,
 * entry of /tmp, process) belongs to it if it has the file's mark: `testMark` at the beginning of its name, or
 * DAVIT_TEST_RUN in the environment of a process.
 *
 * DAVIT_TEST_STRICT_HOST=1 disables the rule: every change counts. That finds objects that a test left without a
 * mark, and needs a host that runs nothing else.
 */
import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import type { Difference } from "./snapshot/shape.ts";

/**
 * The names of this file's cgroups and entries in /tmp begin with it, and those of no other file. It comes from
 * the runner. A file that runs without the runner gets one here.
 */
export const testMark = process.env["DAVIT_TEST_CGROUP"] ?? newMark();

/** A mark for one file. */
export function newMark(): string {
  return `davit-${randomUUID().slice(0, 8)}`;
}

/** True if every change of the host counts. */
export function isStrictHost(): boolean {
  return process.env["DAVIT_TEST_STRICT_HOST"] === "1";
}

/** True for a cgroup with the mark in one of its names; on a strict host, for any with davit's name. */
export function ownsCgroup(cgroup: string, mark = testMark, strict = isStrictHost()): boolean {
  const start = strict ? "davit" : mark;
  return cgroup.split("/").some((part) => part.startsWith(start));
}

/** True for an entry of /tmp with the mark; on a strict host, for any except those of the runner. */
export function ownsTemporary(name: string, mark = testMark, strict = isStrictHost()): boolean {
  if (!strict) return name.startsWith(`/tmp/${mark}`);
  return !/^\/tmp\/davit-(test|unit|ok)[.-]/.test(name);
}

/**
 * For the check inside the file's namespaces. A mount namespace begins as a copy of the host's. A mount in it
 * disappears when its directory is removed on the host. In that case the file has unmounted nothing.
 */
export function belongsToFile({ kind, name, count }: Difference): boolean {
  if (count > 0 || (kind !== "mount" && kind !== "namespace")) return true;
  const place = name.slice(0, name.indexOf(" ("));
  return place.startsWith(`${tmpdir()}/`) || bears(place, testMark) || existsSync(place);
}

/**
 * For the check on the host: everything in the file's TMPDIR or with its mark. Processes are selected by their
 * own mark.
 */
export function belongsOnHost(mark: string, temporary: string): (each: Difference) => boolean {
  return ({ kind, name }) =>
    kind === "process" || bears(name, mark) || name.includes(`${temporary}/`);
}

/** True if a word of the name, or a part of its path, begins with the mark. */
function bears(name: string, mark: string): boolean {
  return name.split(/[/ ]/).some((part) => part.startsWith(mark));
}
