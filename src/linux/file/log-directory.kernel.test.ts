import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { constants } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, beforeEach, describe, test } from "node:test";

import { isKind } from "../../base/errors.ts";
import { makeNode } from "./native.ts";
import { makeFifo } from "../stream/fifo.ts";
import { LogDirectory } from "./log-directory.ts";
import { openRegular, readRegular } from "./regular-file.ts";
import { openFds } from "../testing/leaks.ts";

const outer = mkdtempSync(join(tmpdir(), "davit-logs-"));
after(() => rmSync(outer, { recursive: true }));

let dir = "";
let count = 0;
beforeEach(() => {
  dir = join(outer, String(count++));
  mkdirSync(dir);
});
const at = (name: string): string => join(dir, name);
const strict = { linkedRoots: [] };

/** For assert.rejects: a refusal with this message. */
const refuses =
  (words: RegExp) =>
  (error: unknown): boolean =>
    isKind(error, "failed-precondition") && words.test(String(error));

/** Files that may have the name of a log, by their description in the error. */
const obstacles: readonly (readonly [string, (path: string) => void])[] = [
  ["a symbolic link", (path) => symlinkSync(at("canary"), path)],
  ["a symbolic link", (path) => symlinkSync(at("missing"), path)],
  ["a named pipe", (path) => makeFifo(path)],
  // An open would affect a tape or a watchdog. This is /dev/full.
  ["a device", (path) => makeNode(path, 0o020666, { major: 1, minor: 7 })],
  ["a directory", (path) => mkdirSync(path)],
  ["another name", (path) => linkSync(at("canary"), path)],
];

describe("LogDirectory.open()", () => {
  test("makes missing directories, and rejects a link at any position by name", async () => {
    (await LogDirectory.open(at("a/b/c"), { ...strict, make: true }))[Symbol.dispose]();
    assert.equal(statSync(at("a/b/c")).mode & 0o777, 0o755);
    symlinkSync("a", at("first"));
    symlinkSync("b", at("a/middle"));
    symlinkSync("c", at("a/b/last"));
    for (const [path, link] of [
      ["first/b", "first"],
      ["a/middle/c", "a/middle"],
      ["a/middle/new", "a/middle"],
      ["a/b/last", "a/b/last"],
    ] as const) {
      for (const make of [false, true]) {
        const opening = LogDirectory.open(at(path), { ...strict, make });
        await assert.rejects(opening, refuses(new RegExp(`"${at(link)}" is a symbolic link`)));
      }
    }
    assert.ok(!existsSync(at("a/b/new")));
  });

  test("follows links above a configured root, and not below it", async () => {
    mkdirSync(at("disk/logs/pod"), { recursive: true });
    symlinkSync("disk", at("link"));
    symlinkSync("pod", at("disk/logs/other"));
    const linkedRoots = [at("link"), at("link/logs/")];
    using opened = await LogDirectory.open(at("link/logs/pod"), { linkedRoots });
    await (await opened.append("0.log")).close();
    assert.ok(existsSync(at("disk/logs/pod/0.log")));
    for (const path of ["link/logs/other", "link/logsother"]) {
      await assert.rejects(LogDirectory.open(at(path), { linkedRoots }));
    }
  });

  test("names a path that does not exist or is not a directory", async () => {
    writeFileSync(at("file"), "");
    for (const path of ["missing", "file", "file/below"]) {
      const opening = LogDirectory.open(at(path), strict);
      await assert.rejects(opening, (error) => isKind(error, "not-found"));
    }
  });

  test("stays in its directory when another one replaces it", async () => {
    mkdirSync(at("logs"));
    mkdirSync(at("elsewhere"));
    using opened = await LogDirectory.open(at("logs"), strict);
    renameSync(at("logs"), at("moved"));
    symlinkSync(at("elsewhere"), at("logs"));
    await (await opened.create("0.log")).close();
    assert.ok(existsSync(at("moved/0.log")));
    assert.ok(!existsSync(at("elsewhere/0.log")));
  });
});

describe("LogDirectory", () => {
  test("append() makes a file or continues an existing one", async () => {
    using opened = await LogDirectory.open(dir, strict);
    for (const text of ["a", "b"]) {
      await using file = await opened.append("0.log");
      await file.write(text);
    }
    assert.equal(readFileSync(at("0.log"), "utf8"), "ab");
    assert.equal(statSync(at("0.log")).mode & 0o777, 0o640);
  });

  test("append() rejects anything but a regular file with one name, without opening it", async () => {
    using opened = await LogDirectory.open(dir, strict);
    for (const [kind, make] of obstacles) {
      writeFileSync(at("canary"), "canary");
      make(at("0.log"));
      const before = openFds().size;
      await assert.rejects(opened.append("0.log"), refuses(new RegExp(kind)));
      assert.equal(openFds().size, before);
      assert.equal(readFileSync(at("canary"), "utf8"), "canary");
      assert.ok(!existsSync(at("missing")));
      rmSync(at("0.log"), { recursive: true });
    }
  });

  test("append() does not wait for a lease of the file's owner, and reports it", async () => {
    using opened = await LogDirectory.open(dir, strict);
    writeFileSync(at("0.log"), "");
    // fcntl(2): F_SETLEASE is 1024. The lease is kept although the kernel requests it by SIGIO.
    const script =
      "import fcntl, os, signal, sys; signal.signal(signal.SIGIO, signal.SIG_IGN)\n" +
      "fd = os.open(sys.argv[1], os.O_RDWR); fcntl.fcntl(fd, 1024, fcntl.F_WRLCK)\n" +
      "print('leased', flush=True); sys.stdin.read()";
    const holder = spawn("python3", ["-c", script, at("0.log")], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const ended = once(holder, "exit");
    await once(holder.stdout, "data");
    const ending = new AbortController();
    // If it waits, the kernel removes the lease after 45 s.
    const giveUp = setTimeout(() => ending.abort(), 20_000);
    try {
      const opening = opened.append("0.log");
      const waited = once(ending.signal, "abort").then(() => "it waited");
      const outcome = await Promise.race([opening.catch((error: unknown) => error), waited]);
      assert.ok(refuses(/a process has a lease on it/)(outcome), String(outcome));
    } finally {
      clearTimeout(giveUp);
      holder.stdin.end();
      await ended;
    }
    await (await opened.append("0.log")).close();
  });

  test("create() and rename() replace anything but a directory", async () => {
    using opened = await LogDirectory.open(dir, strict);
    for (const [kind, make] of obstacles) {
      writeFileSync(at("canary"), "canary");
      for (const name of ["0.log", "new"]) make(at(name));
      if (kind === "a directory") {
        await assert.rejects(opened.create("new"));
      } else {
        await using file = await opened.create("new");
        await file.write("new");
        await opened.rename("new", "0.log");
        assert.ok(statSync(at("0.log")).isFile());
        assert.equal(readFileSync(at("0.log"), "utf8"), "new");
        const { dev, ino, size } = await file.stat({ bigint: true });
        assert.deepEqual(await opened.identity("0.log"), { dev, ino, size });
      }
      assert.equal(readFileSync(at("canary"), "utf8"), "canary");
      for (const name of ["0.log", "new"]) rmSync(at(name), { recursive: true, force: true });
    }
    assert.equal(await opened.identity("0.log"), undefined);
    await opened.remove("0.log");
  });
});

test("openRegular() reads files with any number of names, and nothing else", async () => {
  for (const [kind, make] of obstacles) {
    writeFileSync(at("canary"), "canary");
    make(at("0.log"));
    const opening = openRegular(at("0.log"), constants.O_RDONLY, "read it");
    if (kind === "another name") await (await opening).close();
    else await assert.rejects(opening, refuses(new RegExp(`read it: it is ${kind}, not a file`)));
    const reading = readRegular(at("0.log"), "read it");
    if (kind === "another name") assert.equal(await reading, "canary");
    else if (kind === "a symbolic link")
      assert.equal(await reading.catch(() => "canary"), "canary");
    else await assert.rejects(reading, refuses(new RegExp(`read it: it is ${kind}, not a file`)));
    rmSync(at("0.log"), { recursive: true });
  }
});
