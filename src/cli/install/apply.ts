import {
  chmodSync,
  existsSync,
  mkdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { wrap } from "../../base/errors.ts";
import type { Rollback } from "../../base/rollback.ts";
import { placeIn, paths } from "./layout.ts";
import { type Item, linkIfThere, missingParents, readIfThere } from "./plan.ts";
import { hashOf, type InstallRecord } from "./record.ts";

/** Writes what the plan has to create and to update, each with its undo. Returns the record that includes it. */
export function applyItems(
  items: readonly Item[],
  before: InstallRecord,
  { root, undo }: { readonly root: string; readonly undo: Rollback },
): InstallRecord {
  const files = { ...before.files };
  const links = { ...before.links };
  const directories = new Set(before.directories);
  const make = (path: string): void => {
    makeDirectory(placeIn(root, path), undo);
    directories.add(path);
  };
  for (const { action, kind, path, content } of items) {
    if (action !== "create" && action !== "update") continue;
    missingParents(root, path).forEach(make);
    if (kind === "directory") make(path);
    if (kind === "file") {
      replaceFile(placeIn(root, path), content, undo);
      files[path] = hashOf(content);
    }
    if (kind === "link") {
      replaceLink(placeIn(root, path), content, undo);
      links[path] = content;
    }
  }
  return { ...before, files, links, directories: [...directories] };
}

/** Writes the record. It is for root alone, as its directory is that of the images. */
export function writeRecord(record: InstallRecord, root: string, undo: Rollback): void {
  // Not in the record itself: davit serve makes this directory as well.
  for (const path of missingParents(root, paths.record)) {
    makeDirectory(placeIn(root, path), undo, path === "/var/lib/davit" ? 0o711 : 0o755);
  }
  const text = `${JSON.stringify(record, undefined, 2)}\n`;
  replaceFile(placeIn(root, paths.record), text, undo, 0o600);
}

function makeDirectory(path: string, undo: Rollback, mode = 0o755): void {
  undo.defer(`remove the directory "${path}"`, () => {
    try {
      rmdirSync(path);
    } catch {
      // It was not made, or somebody else has put a file into it.
    }
  });
  try {
    mkdirSync(path);
    // Not by the umask, which a hardened node may have set to 077.
    chmodSync(path, mode);
  } catch (cause) {
    throw wrap(`make the directory "${path}"`, cause);
  }
}

/** A file has its old content or its new one, also after a crash. */
function replaceFile(path: string, content: string, undo: Rollback, mode = 0o644): void {
  const before = readIfThere(path);
  write(path, content, mode);
  undo.defer(`undo the change of "${path}"`, () => {
    if (before === undefined) rmSync(path, { force: true });
    else write(path, before, mode);
  });
}

function write(path: string, content: string, mode: number): void {
  const temporary = `${path}.davit-new`;
  try {
    writeFileSync(temporary, content, { mode });
    chmodSync(temporary, mode);
    renameSync(temporary, path);
  } catch (cause) {
    if (existsSync(temporary)) rmSync(temporary);
    throw wrap(`write "${path}"`, cause);
  }
}

function replaceLink(path: string, target: string, undo: Rollback): void {
  const before = linkIfThere(path);
  undo.defer(`undo the change of "${path}"`, () => {
    rmSync(path, { force: true });
    if (before !== undefined && before !== "") symlinkSync(before, path);
  });
  try {
    rmSync(path, { force: true });
    symlinkSync(target, path);
  } catch (cause) {
    throw wrap(`make the link "${path}"`, cause);
  }
}
